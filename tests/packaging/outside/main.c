/* SPDX-License-Identifier: MIT */
/* Uses the installed libnpusim: the version register of the last core. */
#include <npusim.h>
#include <stdio.h>

int main(void) {
  const npusim_options options = {.size = sizeof options, .cores = 3, .threads = 1};
  npusim* sim = NULL;
  uint32_t version = 0;

  if (npusim_create(&options, &sim) != NPUSIM_OK ||
      npusim_mmio_read(sim, 2, 0, &version) != NPUSIM_OK)
    printf("%s\n", npusim_last_error());
  npusim_destroy(sim);
  printf("libnpusim %s: 0x%08x\n", npusim_version(), (unsigned)version);
  return version == 0x46495245 && npusim_abi_version() >> 16 == NPUSIM_ABI_MAJOR ? 0 : 1;
}
