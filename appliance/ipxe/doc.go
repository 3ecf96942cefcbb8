// Package ipxe renders the texts that machines execute before they have an
// operating system: iPXE scripts (autoexec.ipxe, the boot script, the machine's
// script) and the configuration of GRUB's network image.
//
// It is pure: no sockets, no clock, no files. What varies is the address the
// client reached the box on; everything about the machine itself is filled in
// by iPXE at run time from its own settings, so that nothing a client sends is
// ever written into a script. That is the threat model of this package: a
// newline or a "${" that came from the LAN and reached a script would be a
// command executed on somebody's machine.
//
// It must never render a script that does something lasting without being told
// so: what an unknown machine gets ends at its local disk.
package ipxe
