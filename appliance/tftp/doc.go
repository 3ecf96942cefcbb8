// Package tftp serves files to firmware by TFTP (RFC 1350, 2347, 2348, 2349):
// read only, from whatever the caller's Files open, one bounded transfer at a
// time per request. The blocks are moved by pin/tftp; everything that library
// does not know is done around it: the request socket, names, options,
// admission, retransmission, and what every datagram of a transfer means.
//
// Threat model. Everybody on the LAN can send us any datagram with any source
// address, and there is no authentication in the protocol. The package must
// never write, never leave the tree its Files show, never answer an ERROR or
// anything it cannot read, never send more than two datagrams to an address that
// has not acknowledged one, never put words of its own insides or of a client
// into an answer, and never let one client take the transfers, the memory or the
// log of the others.
package tftp
