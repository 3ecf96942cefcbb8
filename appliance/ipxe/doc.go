// Package ipxe renders the texts that machines execute before they have an
// operating system: iPXE scripts (autoexec.ipxe, the boot script, the machine's
// script, and a script for every plan the box makes for a machine) and the
// configurations of pxelinux and of GRUB's network image. It also reads what
// iPXE's boot script says about a machine, and the names under which the other
// two ask for their configuration.
//
// It is pure: no sockets, no clock, no files. What varies is the address the
// client reached the box on and the plan; what a script needs to know of the
// machine is filled in by iPXE at run time from its own settings.
//
// The threat model: a newline, a "${" or a "||" that came from the LAN and
// reached a script would be a command executed on somebody's machine. The boot
// scripts hold nothing a client sends. Titles and notes of plans may (a host
// name is a machine's title), so they are shown as plain words, whatever they
// are; everything else of a plan is the operator's, and is refused when it could
// not be written down as the one thing it is meant to be.
//
// It must never render a script that does something lasting without being told
// so: a time-out takes what is harmless, and whatever fails ends, after time to
// read why, at the local disk. No script tries the same again for ever.
package ipxe
