// Package lab builds a whole network-boot site on one machine: a LAN with a
// router whose DHCP server nobody touches, the box under test, and QEMU
// clients with real firmware. It exists for the end-to-end tests and for
// `make run`.
//
// Everything lives in network namespaces the lab makes itself, so no packet
// reaches a real network. Kernels of test machines often lack netem, nftables
// and iptables, therefore every QEMU client is connected through a [Shim]:
// frames pass through Go, where they can be lost, delayed, rewritten and
// recorded. All timings come from a passive decoder of those frames
// ([Timeline]), so they mean the same for bootpuck, for dnsmasq or for
// anything else that answers.
//
// The lab must never touch the host's own interfaces or addresses, never leave
// a process, namespace or temporary file behind (also after a panic, SIGINT or
// SIGTERM; what a killed run left is removed by the next one), and never
// decide on its own that a missing prerequisite is fine: it reports it, the
// caller skips or fails.
package lab
