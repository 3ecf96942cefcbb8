// Package boot is the domain of bootpuck: what a client says about itself,
// which architecture and firmware it is, what it is to be given and why, and
// the one event type that everything observed is told in.
//
// It is pure and needs the standard library only: no sockets, no clock, no
// files, no packet codec. The protocol rooms (proxydhcp, tftp, bootweb) turn
// bytes into the Facts of a Client, ask Decide, and act on the Decision.
// There is one decision function and one event type in the whole product.
//
// It must never guess a destructive action: whatever Decide returns for a
// machine nobody has said anything about leads to a menu whose time-out is the
// local disk.
package boot
