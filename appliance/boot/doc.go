// Package boot is the domain of bootpuck: what a client says about itself,
// which architecture and firmware it is, which machine it belongs to, what it is
// to be given and why, and the one event type that everything observed is told
// in.
//
// It is pure and needs the standard library only: no sockets, no clock, no
// files, no packet codec. The protocol rooms (proxydhcp, tftp, bootweb) turn
// bytes into the Facts of a Client, ask Decide for the answer to a DHCP packet,
// and act on the Decision. What a machine boots once it asks for its script is
// decided by Identify, which machine it is, and Choose, what that machine gets,
// with the whole reasoning. There is one event type in the whole product.
//
// It must never guess a destructive action. What Decide and Choose return for a
// machine nobody has said anything about leads to a menu whose time-out is the
// local disk. A destructive target is handed out to one machine alone, that is
// armed for it, that is proven to be the one, once. Everything that a client
// tells is a claim of a stranger: it may name a machine, it never proves one.
// Where claims disagree, or a document is missing or damaged, the answer is the
// safe menu or the local disk, with the reason.
package boot
