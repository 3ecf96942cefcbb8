// Package answer makes answer files, command lines and scripts from the
// operator's templates: Go text/template with a closed function set, and the
// machine, its variables and the box's address as data.
//
// # What it must never do
//
// Half of the data comes from strangers: a machine's serial number, product
// name or host name is whatever somebody on the LAN sends. None of it may break
// out of the place where an operator put it, because what comes out is run as
// root on a machine that is being installed. So a value that a client told has
// a type of its own. Printed as it is, it consists of letters, digits and
// [._:@+-] (in XML, JSON and YAML also of spaces), everything else becomes "_".
// The exact value is had through a function that escapes it for its place: xml,
// json, yaml, shell, preseed, uri, cmdline. Only those that fit the kind of the
// file count; after the wrong one the value is still printed in its safe form.
// A value remembers what it is through lower, printf, join and the like.
//
// Languages nest: a shell command in an XML file is escaped from the inside
// out, {{printf "echo %s" (.Machine.Product | shell) | xml}}.
//
// A template is an operator's, but a slip must not stop machines from booting:
// text/template cannot be cancelled from outside, so every loop body, every
// named template and every function pays from a fixed budget of steps, and the
// output is bounded. What is refused at save time is what could escape that:
// templates that call themselves, and nesting without end. The budget counts
// work and not time, so that a template that renders once renders always.
//
// The package needs no clock, no files and no network, and offers templates
// none.
package answer
