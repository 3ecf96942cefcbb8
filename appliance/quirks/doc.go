// Package quirks is the box's book of models: which shape of answer the machines
// of one make need, as their boots have taught or as the operator has said.
//
// A model is told by what every machine shows before it boots: the vendor class
// (option 60), the maker of its network card (the first half of its hardware
// address) and, once it has booted, its SMBIOS product. All three are claims of
// strangers. They are bounded, kept as text and never interpreted; a stranger who
// sends another model's claims learns which of two harmless offers it gets, and
// can teach nothing unless a machine really boots: only a boot that went on after
// another shape had surely failed is written down.
//
// The book decides what a machine of unknown history is offered first. It never
// decides what is booted, and a machine's own history goes before it.
//
// Quirk files carry models from site to site. They are signed, and a file is
// believed only when its key is on the box's list: what is in it changes how
// machines are answered. A file can neither pin a model nor undo a pin.
package quirks
