// Package capture keeps the latest packets of network boots in memory, so that
// the packets of a boot that went wrong can still be looked at when somebody
// asks for them.
//
// What is kept is small: DHCP, ARP of boot clients, the beginning of every TFTP
// transfer and every 256th packet of it, and of HTTP the opening, the heads of
// requests and answers, and the end. A filter in the kernel drops everything
// else, so that bulk transfers are not slowed down. A file that leaves the box
// can be redacted: addresses, names, serial numbers, paths and contents are
// replaced, and the rest still opens in any reader of pcap files.
//
// Packets hold secrets (tokens in paths, passwords in scripts): they stay in
// memory, are never written to disk by this package, and whoever hands them out
// asks for the right to read secrets. It must never send anything, never make
// an interface promiscuous and never record traffic that has nothing to do with
// booting. Everything in a packet is a stranger's: whatever is in it costs
// bounded memory and bounded time, and a flood of one kind of packet, or from
// one station, does not push out what else is kept.
package capture
