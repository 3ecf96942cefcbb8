// Package store keeps what the box must not forget in one bbolt file: machines,
// targets, profiles, groups, rules, templates, the site, attempts. It knows
// names and documents, not what they mean.
//
// What Write has returned without an error is on the medium, whole, whatever
// happens to the power afterwards. What Open returns is a file whose every page
// and every document was looked at first: the file is read by this package's own
// reader, which never maps it and never trusts a number in it, and the sum over
// all documents is compared with the one that was written with the last change.
// A damaged file is set aside under a new name, never repaired and never rolled
// back: an older state could say that a machine still waits for an installation
// that it has had already, and would wipe its disk a second time. An empty
// state does nothing to anybody.
//
// It must never lose an acknowledged change, never show half a transaction,
// never overwrite a file that it does not understand (a newer schema is refused
// and left as it is), and never take the process down because a page of the file
// went bad while it was open. The file holds secrets: its mode is 0600.
package store
