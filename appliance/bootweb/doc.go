// Package bootweb is HTTP for machines that have no operating system yet: boot
// and machine scripts, boot programs, and the operator's own files. It serves
// firmware (UEFI HTTP Boot), iPXE, GRUB and installers, on IPv4 and IPv6.
//
// What such clients need shapes it: every answer has a Content-Length, nothing
// is compressed or redirected, paths are case-sensitive, HEAD and ranges work,
// connections are kept. Whole files leave by sendfile.
//
// Threat model: everybody on the LAN can reach it, without a login and over
// clear text. It serves nothing that is not public on that LAN, runs nothing a
// client names, never writes what a client sent into a script, never leaves
// the operator's directory, lists no directory, and bounds connections,
// headers, time and the events it raises, so that a slow or hostile client
// slows nobody else. It must never carry anything of the admin plane.
package bootweb
