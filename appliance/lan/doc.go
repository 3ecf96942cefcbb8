// Package lan knows the network around the box: which interfaces there are,
// which of them have a link and an address, and which other DHCP and PXE
// servers can be heard on them.
//
// The Watcher keeps one picture of links, addresses and routers, taken afresh
// from the kernel after every change, and tells what changed in plain sentences.
// The Sentinel listens to the replies of other servers and says what they will
// do to clients that are to boot from this box; it also knows the switch (LLDP)
// and who else claims an address of the box (ARP). Twins decides which of
// several boxes on one LAN answers machines.
//
// It must never make an interface promiscuous and never change the machine's
// network configuration. It sends one thing only, a DISCOVER of the box's own
// every few minutes, and none in observe mode; it never sends a REQUEST. The
// memory of servers holds nothing about clients: of an overheard reply only what
// its server says about itself and about booting is kept, and what was said to
// the client is handed on as one event. Whatever a stranger sends costs bounded
// memory and bounded time, and no claim of a stranger makes the box silent for
// longer than one packet of a machine.
package lan
