#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Writes the fixture trees of `npu-probe audit` next to this script. The results are committed;
run it again after a change and commit both. Facts: the boards' public documents and kernel logs."""
import gzip
import pathlib
import shutil
import struct

HERE = pathlib.Path(__file__).resolve().parent
DT = "sys/firmware/devicetree/base"
SPI = (110, 111, 112)
CORES = (0xFDAB0000, 0xFDAC0000, 0xFDAD0000)
MMUS = ((0xFDAB9000, 0xFDABA000), (0xFDACA000,), (0xFDADA000,))
VERSION = 1179210309


def cells(*values):
    return b"".join(struct.pack(">I", v) for v in values)


def strings(*values):
    return b"".join(v.encode() + b"\0" for v in values)


class Tree:
    def __init__(self, name):
        self.root = HERE / name
        if self.root.exists():
            shutil.rmtree(self.root)
        self.root.mkdir(parents=True)

    def put(self, path, data):
        file = self.root / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(data.encode() if isinstance(data, str) else data)

    def link(self, path, target):
        file = self.root / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.symlink_to(target)

    def node(self, path, **properties):
        """A device-tree node; '_' in a keyword stands for '-', '__' for '#' at its start."""
        for name, value in properties.items():
            name = "#" + name[2:] if name.startswith("__") else name
            self.put(f"{DT}/{path}/{name.replace('_', '-')}".replace("//", "/"), value)

    def kernel(self, release, arch="aarch64", compiler="gcc"):
        self.put("proc/sys/kernel/osrelease", release + "\n")
        self.put("proc/sys/kernel/arch", arch + "\n")
        self.put("proc/version", f"Linux version {release} (builder@host) ({compiler}) #1 SMP\n")

    def memory(self, kib):
        self.put("proc/meminfo", f"MemTotal:       {kib} kB\nMemFree:        {kib // 2} kB\n")

    def arm_cpus(self, governor="schedutil", celsius=41):
        self.put("proc/cpuinfo", "processor\t: 0\nCPU implementer\t: 0x41\nCPU part\t: 0xd05\n")
        for policy in (0, 4, 6):
            self.put(f"sys/devices/system/cpu/cpufreq/policy{policy}/scaling_governor",
                     governor + "\n")
        self.put("sys/class/thermal/thermal_zone0/type", "package-thermal\n")
        self.put("sys/class/thermal/thermal_zone0/temp", f"{celsius}000\n")

    def board(self, model, *compatible):
        self.node("", model=strings(model), compatible=strings(*compatible),
                  __address_cells=cells(2), __size_cells=cells(2))

    def npu(self, enabled=True, supply=True, always_on=False, old_names=False):
        status = strings("okay" if enabled else "disabled")
        power = "power-management@fd8d8000/power-controller"
        self.node(power, compatible=strings("rockchip,rk3588-power-controller"),
                  phandle=cells(0x40), __address_cells=cells(1), __size_cells=cells(0),
                  __power_domain_cells=cells(1))
        self.node(f"{power}/power-domain@8", reg=cells(8), __address_cells=cells(1),
                  __size_cells=cells(0))
        if supply:
            self.node(f"{power}/power-domain@8", domain_supply=cells(0x50))
            self.node("i2c@fea90000/regulator@42", compatible=strings("rockchip,rk8602"),
                      reg=cells(0x42), phandle=cells(0x50),
                      regulator_name=strings("vdd_npu_s0"), regulator_boot_on=b"")
            self.node("i2c@fea90000", __address_cells=cells(1), __size_cells=cells(0))
            if always_on:
                self.node("i2c@fea90000/regulator@42", regulator_always_on=b"")
        for i, base in enumerate(CORES):
            name = f"npu@{base:x}"
            self.node(name, compatible=strings("rockchip,rk3588-rknn-core"), status=status,
                      reg=cells(0, base, 0, 0x1000, 0, base + 0x1000, 0, 0x1000,
                                0, base + 0x3000, 0, 0x1000),
                      reg_names=strings("pc", "cna", "core"),
                      power_domains=cells(0x40, 9 + i), iommus=cells(0x60 + i),
                      assigned_clock_rates=cells(200000000))
            if supply:
                self.node(name, npu_supply=cells(0x50), sram_supply=cells(0x50))
            # The first merged tree named the nodes of cores 1 and 2 after ...9000.
            at = base + 0x9000 if old_names else MMUS[i][0]
            reg = b"".join(cells(0, window, 0, 0x100) for window in MMUS[i])
            self.node(f"iommu@{at:x}", reg=reg, status=status, phandle=cells(0x60 + i),
                      compatible=strings("rockchip,rk3588-iommu", "rockchip,rk3568-iommu"),
                      power_domains=cells(0x40, 9 + i))

    def interrupts(self, cpu, effective):
        head = "           " + "".join(f"CPU{i:<8}" for i in range(8)) + "\n"
        lines = [f" 26: {'0 ' * 8} GICv3  26 Level     arch_timer\n"]
        for i, base in enumerate(CORES):
            counts = " ".join("812" if c == cpu else "0" for c in range(8))
            lines.append(f"{142 + i}: {counts} GICv3 {142 + i} Level     "
                         f"{MMUS[i][0]:x}.iommu, {base:x}.npu\n")
            self.put(f"proc/irq/{142 + i}/smp_affinity_list", "0-7\n" if cpu == 0 else "4-7\n")
            if effective:
                self.put(f"proc/irq/{142 + i}/effective_affinity_list", f"{cpu}\n")
        self.put("proc/interrupts", head + "".join(lines) + "IPI0: 1 2 3 4 Rescheduling\n")


# What kernel/config/rosenblatt.config asks for, as Debian's 7.3.4 has it.
CONFIG = """# Linux/arm64 Kernel Configuration
CONFIG_ARM64=y
CONFIG_ARCH_ROCKCHIP=y
CONFIG_PM=y
CONFIG_PM_GENERIC_DOMAINS=y
CONFIG_ROCKCHIP_PM_DOMAINS=y
CONFIG_ROCKCHIP_IOMMU=y
CONFIG_CLK_RK3588=y
CONFIG_RESET_CONTROLLER=y
CONFIG_ARM_SCMI_PROTOCOL=y
CONFIG_ARM_SCMI_TRANSPORT_SMC=y
CONFIG_COMMON_CLK_SCMI=y
CONFIG_I2C_RK3X=m
CONFIG_REGULATOR_FAN53555=m
# CONFIG_IKCONFIG is not set
CONFIG_DEBUG_FS=y
CONFIG_DEVMEM=y
CONFIG_HUGETLBFS=y
CONFIG_DRM=m
CONFIG_DRM_ACCEL=y
# CONFIG_DRM_ACCEL_HABANALABS is not set
"""
ROCKET_M = CONFIG + "CONFIG_DRM_ACCEL_ROCKET=m\n"
ROCKET_UNSET = CONFIG + "# CONFIG_DRM_ACCEL_ROCKET is not set\n"
MODULES = "rocket 28672 0 - Live 0x0000000000000000\ngpu_sched 57344 2 rocket,panthor, Live 0x0\n"


def modules(tree, base, release, rocket=True):
    folder = f"{base}/{release}"
    dep = "kernel/drivers/gpu/drm/scheduler/gpu-sched.ko:\n"
    if rocket:
        tree.put(f"{folder}/kernel/drivers/accel/rocket/rocket.ko", b"\x7fELF\x02\x01\x01\0")
        dep += ("kernel/drivers/accel/rocket/rocket.ko: "
                "kernel/drivers/gpu/drm/scheduler/gpu-sched.ko\n")
    tree.put(f"{folder}/modules.dep", dep)
    tree.put(f"{folder}/modules.builtin", "kernel/drivers/iommu/rockchip-iommu.ko\n")


def rocket_log(start=16.974889):
    lines = ["[    0.000000] Booting Linux on physical CPU 0x0000000000 [0x412fd050]\n",
             "[    2.101003] rk_iommu fdab9000.iommu: Adding to iommu group 3\n"]
    for i, base in enumerate(CORES):
        lines.append(f"[   {start + i * 0.015:.6f}] rocket {base:x}.npu: "
                     f"Rockchip NPU core {i} version: {VERSION}\n")
    lines.insert(2, f"[   {start - 0.02:.6f}] [drm] Initialized rocket 0.0.0 for rknn on minor 0\n")
    return "".join(lines)


ROCK5_ITX = ("Radxa ROCK 5 ITX+", "radxa,rock-5-itx-plus", "rockchip,rk3588")
GROUPS = "root:x:0:\nvideo:x:44:\nrender:x:105:frank\n"
DPKG = """Package: libc6
Status: install ok installed
Version: 2.41-12

Package: mesa-teflon-delegate
Status: install ok installed
Architecture: arm64
Version: 25.3.1-1

Package: mesa-libgallium
Status: deinstall ok config-files
Version: 24.0.0-1
"""


def boltzmann_not_enabled():
    t = Tree("boltzmann-not-enabled")
    t.kernel("7.0.0-rosenblatt")
    t.put("boot/config-7.0.0-rosenblatt", ROCKET_M)
    modules(t, "lib/modules", "7.0.0-rosenblatt")
    t.put("proc/modules", "panthor 118784 0 - Live 0x0000000000000000\n")
    t.put("proc/cmdline", "root=/dev/nvme0n1p2 rw console=ttyS2,1500000\n")
    t.memory(32683412)
    t.arm_cpus()
    t.board(*ROCK5_ITX)
    t.npu(enabled=False, supply=False)
    t.put("proc/interrupts", "           CPU0       CPU1\n 26: 9 9 GICv3 26 Level arch_timer\n")
    t.put("dev-nodes.txt", "# path type mode owner group major:minor\n"
                           "/dev/dri/card0 c 0660 root video 226:0\n"
                           "/dev/dri/renderD128 c 0660 root render 226:128\n")
    t.put("dmesg.txt", "[    0.000000] Booting Linux on physical CPU 0x0\n")
    t.put("etc/group", GROUPS)
    t.put("id.txt", "uid=1000(frank) gid=1000(frank) groups=1000(frank),105(render)\n")


def boltzmann_ready():
    t = Tree("boltzmann-ready")
    t.kernel("7.0.0-rosenblatt")
    t.put("proc/config.gz", gzip.compress(ROCKET_M.encode(), mtime=0))
    modules(t, "usr/lib/modules", "7.0.0-rosenblatt")
    t.link("lib", "/usr/lib")  # an absolute link must stay inside the tree
    t.put("proc/modules", MODULES)
    t.put("proc/cmdline", "root=/dev/nvme0n1p2 rw\n")
    t.memory(32683412)
    t.arm_cpus()
    t.board(*ROCK5_ITX)
    t.npu(always_on=True)
    t.interrupts(cpu=4, effective=True)
    t.put("sys/kernel/debug/clk/scmi_clk_npu/clk_rate", "600000000\n")
    t.put("sys/kernel/debug/clk/aclk_npu0/clk_rate", "148500000\n")
    t.put("sys/module/rocket/initstate", "live\n")
    t.put("sys/class/accel/accel0/device/uevent", "MODALIAS=platform:rknn\n")
    t.put("dev-nodes.txt", "/dev/accel/accel0 c 0660 root render 261:0\n"
                           "/dev/dri/renderD128 c 0660 root render 226:128\n"
                           "/dev/dri/renderD180 l 0777 root root 0:0 -> ../accel/accel0\n")
    t.put("dmesg.txt", rocket_log(4.5))
    t.put("etc/group", GROUPS)
    t.put("id.txt", "uid=1000(frank) gid=1000(frank) groups=1000(frank),105(render)\n")
    t.put("usr/lib/teflon/libteflon.so", b"\x7fELF\x02\x01\x01\0")
    t.put("usr/lib/aarch64-linux-gnu/libtensorflow-lite.so.2.14.1", b"\x7fELF\x02\x01\x01\0")
    t.put("var/lib/dpkg/status", DPKG)


def opi01_ready():
    t = Tree("opi01-ready")
    t.kernel("6.18.0")
    t.put("proc/config.gz", gzip.compress(ROCKET_M.encode(), mtime=0))
    store = "nix/store/0c9r3fmvhmqi7y0x3v1a2b3c4d5e6f7g"
    t.put(f"{store}-kernel-modules/lib/modules/6.18.0/kernel/drivers/accel/rocket/rocket.ko.xz",
          b"\xfd7zXZ\0")
    t.put(f"{store}-kernel-modules/lib/modules/6.18.0/modules.dep",
          "kernel/drivers/accel/rocket/rocket.ko.xz: kernel/drivers/gpu/drm/drm_shmem_helper.ko\n")
    t.link("run/booted-system/kernel-modules", f"/{store}-kernel-modules")
    t.put("proc/modules", MODULES)
    t.put("proc/cmdline", "init=/nix/store/x/init console=ttyS2,1500000 loglevel=4\n")
    t.memory(16246960)
    t.arm_cpus("ondemand", 47)
    t.board("Xunlong Orange Pi 5 Plus", "xunlong,orangepi-5-plus", "rockchip,rk3588")
    t.npu(old_names=True)
    t.interrupts(cpu=0, effective=False)
    t.put("dev-nodes.txt", "/dev/accel/accel0 c 0666 root render 261:0\n"
                           "/dev/dri/renderD180 l 0777 root root 0:0 -> /dev/accel/accel0\n")
    t.put("dmesg.txt", rocket_log())
    mesa = "nix/store/1d9r3fmvhmqi7y0x3v1a2b3c4d5e6f7g-mesa-25.3.1"
    t.put(f"{mesa}/lib/libteflon.so", b"\x7fELF\x02\x01\x01\0")
    t.link("run/opengl-driver/lib/libteflon.so", f"/{mesa}/lib/libteflon.so")
    t.put("nix/store/2e9r3fmvhmqi7y0x3v1a2b3c4d5e6f7g-tensorflow-lite-2.18.0/lib/.keep", "")


def vendor_kernel():
    t = Tree("vendor-kernel")
    release = "6.1.84-rk2410-nocsf"
    t.kernel(release)
    t.put(f"boot/config-{release}", "CONFIG_ARM64=y\nCONFIG_ROCKCHIP_IOMMU=y\n"
          "CONFIG_ROCKCHIP_PM_DOMAINS=y\nCONFIG_ROCKCHIP_RKNPU=y\n# CONFIG_DRM_ACCEL is not set\n")
    t.put("proc/modules", "bcmdhd 1000 0 - Live 0x0\n")
    t.put("proc/cmdline", "root=UUID=1 rw\n")
    t.memory(8127160)
    t.arm_cpus("performance", 52)
    t.board("Radxa ROCK 5B", "radxa,rock-5b", "rockchip,rk3588")
    t.node("npu@fdab0000", compatible=strings("rockchip,rk3588-rknpu"), status=strings("okay"),
           reg=cells(0, CORES[0], 0, 0x10000, 0, CORES[1], 0, 0x10000, 0, CORES[2], 0, 0x10000))
    t.node("iommu@fdab9000", compatible=strings("rockchip,iommu-v2"), status=strings("okay"),
           reg=cells(0, 0xFDAB9000, 0, 0x100, 0, 0xFDABA000, 0, 0x100, 0, 0xFDACA000, 0, 0x100,
                     0, 0xFDADA000, 0, 0x100))
    t.put("sys/kernel/debug/rknpu/version", "RKNPU driver: v0.9.8\n")
    t.put("dev-nodes.txt", "/dev/rknpu c 0660 root video 10:123\n"
                           "/dev/dri/card1 c 0660 root video 226:1\n")
    t.put("var/log/kern.log", "Nov  2 10:00:01 rock-5b kernel: [    4.100000] RKNPU fdab0000.npu: "
                              "RKNPU: rknpu iommu is enabled, using iommu mode\n")
    t.put("usr/lib/librknnrt.so", b"\x7fELF\x02\x01\x01\0")


def x86_64_pc():
    t = Tree("x86-64-pc")
    t.kernel("6.12.48+deb13-amd64", "x86_64")
    t.put("proc/cpuinfo", "processor\t: 0\nvendor_id\t: GenuineIntel\nmodel name\t: a PC\n")
    t.put("boot/config-6.12.48+deb13-amd64", "CONFIG_X86_64=y\nCONFIG_DRM_ACCEL=y\n")
    t.put("proc/modules", "i915 1 0 - Live 0x0\n")
    t.memory(16303048)
    t.put("dev-nodes.txt", "/dev/dri/card0 c 0660 root video 226:0\n"
                           "/dev/accel/accel0 c 0660 root render 261:0\n")


def debian_no_rocket():
    t = Tree("debian-no-rocket")
    release = "7.3.4+deb13-arm64"
    t.kernel(release)
    t.put(f"boot/config-{release}", ROCKET_UNSET)
    modules(t, "lib/modules", release, rocket=False)
    t.put("proc/modules", "panthor 118784 0 - Live 0x0\n")
    t.put("proc/cmdline", "root=UUID=2 ro quiet\n")
    t.memory(3900000)
    t.arm_cpus()
    t.board("Radxa ROCK 5 ITX", "radxa,rock-5-itx", "rockchip,rk3588")
    t.npu()
    t.put("proc/interrupts", "           CPU0\n 26: 9 GICv3 26 Level arch_timer\n")
    t.put("dev-nodes.txt", "/dev/dri/card0 c 0660 root video 226:0\n")
    t.put("var/log/dmesg", "[    0.000000] Booting Linux on physical CPU 0x0\n")


def broken():
    """Truncated, binary and looping: every reader meets something that it cannot use."""
    t = Tree("broken")
    noise = bytes((i * 197 + 89) % 256 for i in range(700))
    t.put("proc/sys/kernel/osrelease", b"6.1\x1b[31m8-\xff\xfe..broken\n")
    t.put("proc/config.gz", gzip.compress(ROCKET_M.encode(), mtime=0)[:40])
    t.put("proc/modules", noise)
    t.put("proc/interrupts", noise + b"\n142: 1 2 x fdab0000.npu\n99999999999999999999: 1\n")
    t.put("proc/irq/142/smp_affinity_list", b"7-3,,-,99999999999\n")
    t.put("proc/meminfo", "MemTotal:  many kB\n")
    t.put("proc/cmdline/not-a-file", "x")  # a directory in the place of a file
    t.put("dev-nodes.txt", b"/dev/accel/accel0 c 9999 root\n/dev/accel/accel1\n\0\0\0\n" + noise)
    t.put("dmesg.txt", b"[   1.0] rocket fdab0000.npu: Rockchip NPU core 99999999999 version: x\n"
                       b"[   2.0] rocket fdab0000.npu: Rockchip NPU core 0 version:\n" + noise)
    t.put("id.txt", noise)
    t.put("var/lib/dpkg/status", noise)
    t.node("", model=b"\xff\x1b[2JBoard", compatible=b"radxa,rock-5-itx\0rockchip,rk35",
           __address_cells=cells(2)[:3], __size_cells=cells(0xFFFFFFFF))
    t.node("npu@fdab0000", compatible=strings("rockchip,rk3588-rknn-core"), reg=b"\0\0\xfd",
           status=b"ok\xff", power_domains=b"\0", iommus=cells(0xDEAD), npu_supply=b"")
    t.node("iommu@fdab9000", reg=b"")
    t.put(f"{DT}/npu@fdac0000/compatible/oops", "")  # a directory named like a property
    t.link("etc/group", "group")  # points to itself
    t.link("lib", "/usr/lib")
    t.link("usr/lib", "/lib")
    t.link("usr/up", "../../../../../..")
    t.link("sys/class/thermal", "../class/thermal")
    t.put("sys/devices/system/cpu/cpufreq/policy0/scaling_governor", b"\0\0\0")


for make in (boltzmann_not_enabled, boltzmann_ready, opi01_ready, vendor_kernel, x86_64_pc,
             debian_no_rocket, broken):
    make()
