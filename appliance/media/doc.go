// Package media keeps uploaded netboot trees: archives such as Debian's or
// Ubuntu's netboot.tar.gz, unpacked below the state directory and served as they
// are.
//
// # What it must never do
//
// An archive comes over the network and may be made to hurt. It must not write
// or link outside of its own tree, fill the disk, hold the box with a million
// entries, leave half a tree behind, or bring anything but folders, files and
// links. So an upload is first stored, then read once from end to end without
// writing anything, and only when every entry has been found good is it
// unpacked: into a folder of its own that no name leads out of (os.Root), links
// last. The folder gets its name by one rename after everything is on the disk;
// a power cut leaves the old tree or the new one. What is refused is refused
// with the name of the entry.
//
// A tree is replaced whole. Transfers that have begun go on with the old one:
// open files outlive their names.
//
// Two things guard each other: the plan knows that no link leads out, and
// os.Root, through which everything is opened, would not follow one.
package media
