// Package exchange writes everything an operator has decided as one YAML file,
// reads such a file back, and says how two states differ. The file is meant to
// be read, edited and kept under version control by people: fields stand in a
// fixed order, what says nothing is left out, texts of several lines stand as
// they are, and what the box merely observed is not in it.
//
// Reading is strict, because what is not understood would be lost without a
// word: unknown keys, wrong kinds of values, names and keys that are there
// twice, anchors, aliases and tags are errors, and each error says file, line,
// field and what to write instead. Export and Parse are each other's inverse
// (see Normal).
//
// It must never let a file make it use memory or time without bound (aliases
// that multiply, deep nesting, millions of tiny values), never hand out half a
// document, and never show a secret in a difference. An export holds secrets: it
// has to, or it could not be imported again.
package exchange
