// Package proxydhcp is the boot server beside the site's own DHCP server: it
// answers network boot clients on UDP 67 and 4011 and nobody else.
//
// Reply is the whole decision about one packet and is pure: packet and
// surroundings in, packet and route out. Handler adds what needs memory (rate
// limits, the styles tried per machine, events), still without sockets or a
// clock of its own. Server owns the two sockets.
//
// What it must never do: grant an address, route or name server; send a NAK;
// answer an ordinary DHCP client; send to an address a packet merely claims,
// unless that address is on the link or in an allowed network; answer one
// packet twice; or let one client's flood delay another client's answer.
package proxydhcp
