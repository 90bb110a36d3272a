/* SPDX-License-Identifier: GPL-2.0-only */
#include "dataplane/key_hash.h"

#include <sys/random.h>

#include "base/clock.h"

uint64_t weir_key_seed;

/* Before any table is made. Does not wait where the kernel has just booted. */
__attribute__((constructor)) static void seed(void)
{
	if (getrandom(&weir_key_seed, sizeof(weir_key_seed), GRND_INSECURE) !=
	    sizeof(weir_key_seed))
		weir_key_seed = weir_clock_real();
}
