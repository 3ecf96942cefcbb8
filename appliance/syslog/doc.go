// Package syslog receives the system logs of machines that are being installed,
// and sends the box's own log to a server of the site.
//
// A line that an installer logs says what no packet says: which disk it found,
// where it stopped. The Receiver turns lines into events; the Forwarder is a
// slog.Handler whose lines also go to a server.
//
// Syslog proves nothing about its sender: UDP sources are forged at will, and
// every octet of a line is a stranger's. A line is cut, made harmless for
// terminals, and counts for nothing but itself. The Receiver must never answer,
// never resolve a name that a line holds, and never take more than a bounded
// number of connections and lines, per source and in all. The Forwarder must
// never hold up the part of the box that logs, and never forward what it says
// about itself or what the Receiver was told: two boxes that forward to each
// other would never stop.
package syslog
