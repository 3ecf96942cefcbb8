// Package lan knows the network around the box: which interfaces there are,
// which of them have a link and an address, and which other DHCP and PXE
// servers can be heard on them.
//
// The Watcher keeps one picture of links and addresses, taken afresh from the
// kernel after every change, and tells what changed in plain sentences. The
// Sentinel listens to the replies of other servers and says what they will do
// to clients that are to boot from this box.
//
// It must never send anything, never make an interface promiscuous and never
// change the machine's network configuration. It keeps nothing about clients:
// of an overheard reply only what its server says about itself and about
// booting is remembered. Whatever a stranger sends costs bounded memory and
// bounded time.
package lan
