// Package pxesim is a network-boot client without a computer around it: it plays the DHCP, PXE, TFTP
// and HTTP side of real boot firmware (BIOS option ROMs, several generations of EDK2, UEFI HTTP Boot,
// iPXE, the Raspberry Pi) closely enough that a server which boots it boots the real thing, and one
// that only looks right to a lenient client does not.
//
// Three users: the product's own tests, the operator's probe of a live LAN, and load tests.
//
// # How it is built
//
// A [Profile] is data: what one kind of firmware sends, how long it waits, which of its known habits
// and bugs it has. [Select] is the firmware's own choice among the offers it heard, as a pure function.
// [Machine] is the exchange as a pure state machine: it is given packets, expired timers and finished
// downloads, and answers with effects. [Run] is the edge: it owns the clock, a [Link] for DHCP, and
// sockets for TFTP and HTTP, and carries out the effects.
//
// The package shares no code with the server side of the product, on purpose. It reads packets with a
// codec of its own, because several firmware bugs live in details that a friendly codec hides: which
// of two equal options counts, what byte follows an option that is not terminated, whether a split
// option is joined.
//
// # What it must never do
//
//   - Take an address from the site's DHCP server unless [Options].Lease says so. The zero value of
//     Options sends DISCOVER only (an offer that nobody requests lapses on its own), and uses the
//     machine's own address for everything after it.
//   - Send DHCPDECLINE or DHCPINFORM, answer anybody's DHCP request, or send a packet to an address
//     outside the exchange it plays.
//   - Announce the machine's own address from another hardware address: that would redirect the
//     machine's traffic. Packets that carry the machine's own address carry its own MAC.
//   - Keep a download: content is counted, hashed and thrown away, except for its first bytes.
//   - Trust a reply. Everything received is bounded, parsed without recursion and fuzzed.
package pxesim
