// Package appliance is the whole box: it makes the rooms, connects them and runs
// them. It is the only package that imports all the others.
//
// The way of a packet: socket, proxydhcp.Reply (asks boot.Decide), packet out,
// one boot.Event. The way of a script: HTTP, identify the client, ipxe renders,
// one boot.Event. The way of an event: here, to the memory of clients, the
// journal, the metrics and the log.
package appliance
