package media

import (
	"errors"
	"fmt"
)

// Errors of Store.
var (
	ErrNotFound = errors.New("there is no such tree")
	ErrBusy     = errors.New("another archive is being unpacked; try again when it is done")
	ErrName     = errors.New("a tree's name is up to 63 of a-z, 0-9, dots, dashes and underlines, and begins with a letter or digit")
	ErrTooMany  = errors.New("there are too many trees; delete one first")
	// ErrTooLarge is in the chain of errors of archives beyond a limit of size,
	// of number or of compression.
	ErrTooLarge = errors.New("beyond the limit")
)

// ArchiveError says why an archive is refused. Nothing of it was installed.
type ArchiveError struct {
	entry string // as the archive names it, or empty
	what  string
	cause error
}

// Error names the entry.
func (e *ArchiveError) Error() string {
	if e.entry == "" {
		return "archive: " + e.what
	}
	return fmt.Sprintf("archive: entry %q: %s", e.entry, e.what)
}

// Entry is the name of the entry that is to blame, cut to 200 octets; empty
// when it is the archive as a whole.
func (e *ArchiveError) Entry() string { return e.entry }

// Unwrap is the cause, often ErrTooLarge.
func (e *ArchiveError) Unwrap() error { return e.cause }

// refuse makes an ArchiveError.
func refuse(entry, format string, args ...any) *ArchiveError {
	return &ArchiveError{entry: clip(entry), what: fmt.Sprintf(format, args...)}
}

// tooLarge makes an ArchiveError for a limit.
func tooLarge(entry, format string, args ...any) *ArchiveError {
	e := refuse(entry, format, args...)
	e.cause = ErrTooLarge
	return e
}

func clip(s string) string {
	if len(s) > 200 {
		return s[:200] + "…"
	}
	return s
}

// SpaceError says that the disk is too full. Nothing was installed.
type SpaceError struct {
	Need, Have int64 // octets
	Files      bool  // it is the number of files that the disk has no room for
}

// Error says what is missing.
func (e *SpaceError) Error() string {
	if e.Files {
		return fmt.Sprintf("the disk is full: room for %d more files is missing (needs %d, has %d)", e.Need-e.Have, e.Need, e.Have)
	}
	return fmt.Sprintf("the disk is full: %s missing (needs %s, has %s)", mib(e.Need-e.Have), mib(e.Need), mib(e.Have))
}

// mib rounds up, so that nothing missing is never shown.
func mib(n int64) string { return fmt.Sprintf("%d MiB", (max(n, 0)+1<<20-1)>>20) }
