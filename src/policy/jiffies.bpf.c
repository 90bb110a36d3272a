/* SPDX-License-Identifier: GPL-2.0-only */
/* The kernel's jiffies64, which user space can't read: run by BPF_PROG_TEST_RUN. */
#include <linux/bpf.h>
#include <bpf/bpf_helpers.h>

__u64 weir_jiffies;

SEC("socket")
int weir_read_jiffies(struct __sk_buff *skb)
{
	(void)skb;
	weir_jiffies = bpf_jiffies64();
	return 0;
}

char LICENSE[] SEC("license") = "GPL";
