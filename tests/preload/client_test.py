#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""A client in plain Python: ioctls by number, structures by hand, mmap of the node; and the
environment variables of the library. Run as: client_test.py NPU_PROBE"""
import ctypes
import fcntl
import glob
import json
import mmap
import os
import struct
import subprocess
import sys
import tempfile
import time
import unittest

CREATE_BO, SUBMIT, PREP_BO, FINI_BO = 0xC0186440, 0x40186441, 0x40106442, 0x40086443
NODE = "/dev/accel/accel0"
DPU, RDMA, PC = 0x1001, 0x2001, 0x0081


class Bo:
    def __init__(self, fd, size):
        made = bytearray(struct.pack("<IIQQ", size, 0, 0, 0))
        fcntl.ioctl(fd, CREATE_BO, made)
        _, self.handle, self.iova, self.offset = struct.unpack("<IIQQ", made)
        self.map = mmap.mmap(fd, size, mmap.MAP_SHARED, mmap.PROT_READ | mmap.PROT_WRITE,
                             offset=self.offset)


def add(fd, a, b):
    """Sums of int16, eight to a row of 16 bytes, by the element-wise unit."""
    bos = program, left, right, out = [Bo(fd, 4096) for _ in range(4)]
    left.map[: 2 * len(a)] = struct.pack(f"<{len(a)}h", *a)
    right.map[: 2 * len(b)] = struct.pack(f"<{len(b)}h", *b)
    last = len(a) // 8 - 1
    words = [
        (DPU, 0x400C, 0x1E5), (DPU, 0x4010, 1 << 29 | 1 << 26 | 1), (DPU, 0x4030, last),
        (DPU, 0x403C, 0x00070007), (DPU, 0x4040, 0x53), (DPU, 0x4060, 0x53),
        (DPU, 0x4070, 1 << 28 | 2 << 22 | 2 << 16 | 1 << 9 | 1 << 7 | 1 << 6),
        (DPU, 0x4078, 1), (DPU, 0x4084, 1), (DPU, 0x4020, out.iova),
        (RDMA, 0x500C, last), (RDMA, 0x5010, 0), (RDMA, 0x5014, 7),
        (RDMA, 0x5034, 1 << 30 | 2 << 2), (RDMA, 0x5018, left.iova), (RDMA, 0x5038, right.iova),
        (RDMA, 0x5044, 1 << 15 | 15 << 11 | 1 << 5 | 1), (PC, 0x0008, 0x18)]
    for i, (block, register, value) in enumerate(words):
        struct.pack_into("<Q", program.map, 8 * i, block << 48 | value << 16 | register)
    for bo in bos:
        fcntl.ioctl(fd, FINI_BO, struct.pack("<II", bo.handle, 0))
    task = ctypes.create_string_buffer(struct.pack("<II", program.iova, len(words)))
    ins = ctypes.create_string_buffer(struct.pack("<III", program.handle, left.handle, right.handle))
    outs = ctypes.create_string_buffer(struct.pack("<I", out.handle))
    at = ctypes.addressof
    job = ctypes.create_string_buffer(
        struct.pack("<QQQIIII", at(task), at(ins), at(outs), 1, 8, 3, 1))
    fcntl.ioctl(fd, SUBMIT, struct.pack("<QIIQ", at(job), 1, 40, 0))
    fcntl.ioctl(fd, PREP_BO, struct.pack("<IIq", out.handle, 0, time.monotonic_ns() + 10 * 10**9))
    return list(struct.unpack(f"<{len(a)}h", out.map[: 2 * len(a)]))


class Client(unittest.TestCase):
    def test_finds_the_node_and_adds(self):
        self.assertEqual(glob.glob("/dev/accel/accel*"), [NODE])
        fd = os.open(glob.glob("/dev/accel/accel*")[0], os.O_RDWR)
        a, b = list(range(-12, 12)), [7 * x for x in range(24)]
        self.assertEqual(add(fd, a, b), [x + y for x, y in zip(a, b)])
        os.close(fd)

    def test_goes_on_after_starting_other_programs(self):
        fd = os.open(NODE, os.O_RDWR)
        self.assertEqual(add(fd, [1] * 8, [2] * 8), [3] * 8)
        # Closes everything in a child of vfork(), which shares this process's memory.
        run = subprocess.run(["/bin/echo", "there"], close_fds=True, capture_output=True, check=True)
        self.assertEqual(run.stdout, b"there\n")
        self.assertEqual(os.system("true"), 0)
        self.assertEqual(add(fd, [5] * 8, [6] * 8), [11] * 8)
        os.close(fd)

    def test_maps_through_a_file_object(self):
        with open(NODE, "r+b", buffering=0) as node:
            bo = Bo(node.fileno(), 8192)
            bo.map[8191] = 9
            again = mmap.mmap(node.fileno(), 8192, offset=bo.offset)
            self.assertEqual(again[8191], 9)
            with self.assertRaises(OSError):
                mmap.mmap(node.fileno(), 12288, offset=bo.offset)


def sim_run(*words, **environment):
    """What a program of one line says of itself under sim-run."""
    env = {k: v for k, v in os.environ.items() if not k.startswith("NPU_SIM_") and k != "LD_PRELOAD"}
    return subprocess.run([PROBE, "sim-run", *words], env={**env, **environment},
                          capture_output=True, text=True, timeout=120, check=False)


class Environment(unittest.TestCase):
    def bringup(self, *options, **environment):
        return sim_run(*options, "--", PROBE, "bringup", "--device", "rocket", **environment)

    def test_a_trace_is_written_at_the_end_for_each_process(self):
        with tempfile.TemporaryDirectory() as folder:
            done = self.bringup("--trace", folder + "/%p.json", "--clock-mhz", "1000")
            self.assertEqual(done.returncode, 0, done.stderr)
            (path,) = glob.glob(folder + "/*.json")
            with open(path, encoding="utf-8") as file:
                trace = json.load(file)
            self.assertEqual(trace["otherData"]["clock_mhz"], 1000)
            jobs = [e for e in trace["traceEvents"] if e["name"] == "npu-probe"]
            self.assertGreater(len(jobs), 3)

    def test_a_value_that_makes_no_sense(self):
        for name in ("CORES", "INJECT", "DRIVER", "CALIBRATION", "CLOCK_MHZ", "EXPLAIN"):
            with self.subTest(name):
                done = self.bringup(**{"NPU_SIM_" + name: "nonsense"})
                self.assertEqual(done.returncode, 2)
                self.assertIn(f'NPU_SIM_{name}="nonsense"', done.stderr)
                library = os.path.join(os.path.dirname(PROBE), "../lib/librocket-sim.so")
                env = {**os.environ, "NPU_SIM_" + name: "nonsense", "LD_PRELOAD": library}
                done = subprocess.run([PROBE, "bringup", "--device", "rocket"], env=env,
                                      capture_output=True, text=True, timeout=120, check=False)
                self.assertEqual(done.returncode, 0, done.stderr)
                self.assertEqual(done.stderr.count("the default holds"), 1)

    def test_sim_run_tells_bad_options_itself(self):
        self.assertEqual(self.bringup("--inject", "nonsense").returncode, 2)
        self.assertEqual(self.bringup("--calibration", "/nowhere.json").returncode, 4)
        self.assertEqual(self.bringup("--cores", "4").returncode, 2)

    def test_explanations_name_what_a_client_hit(self):
        done = self.bringup("--explain", "--inject", "iommu-fault@3")
        self.assertIn("librocket-sim: fault", done.stderr)


if __name__ == "__main__":
    PROBE = os.path.abspath(sys.argv.pop(1))
    unittest.main(verbosity=2)
