package main

import "slices"

// fieldType is how a field of a document is written.
type fieldType int

const (
	typeText    fieldType = iota
	typeNumber            // whole
	typeBool              // true or false
	typeTime              // RFC 3339
	typeList              // of texts
	typeTexts             // texts by name
	typeLists             // lists of texts by name
	typeObject            // fields of its own
	typeObjects           // a list of those
	typeAny               // not known here
)

// short is what help shows in place of the value.
func (t fieldType) short() string {
	switch t {
	case typeText, typeTexts:
		return "TEXT"
	case typeNumber:
		return "N"
	case typeBool:
		return "true|false"
	case typeTime:
		return "TIME"
	case typeList, typeLists:
		return "A,B…"
	case typeObject:
		return "{…}"
	case typeObjects:
		return "[{…},…]"
	case typeAny:
	}
	return ""
}

// field is one of a document's. The API has the last word on all of them;
// what is known here makes help and completion, and turns the text of a command
// line into the value that is meant.
type field struct {
	name     string
	typ      fieldType
	help     string
	values   []string // for completion
	sub      []field
	readOnly bool // the box's own
	entry    bool // one of texts by name
}

func find1(list []field, name string) (field, bool) {
	i := slices.IndexFunc(list, func(f field) bool { return f.name == name })
	if i < 0 {
		return field{}, false
	}
	return list[i], true
}

// kind is a kind of documents.
type kind struct {
	one, plural string
	path        string // below /api/v1
	single      bool   // there is only one
	whole       bool   // the list has no pages
	help        string
	fields      []field
	columns     []column
}

func kindByPlural(plural string) kind {
	all := kinds()
	i := slices.IndexFunc(all, func(k kind) bool { return k.plural == plural })
	if i < 0 {
		return kind{}
	}
	return all[i]
}

func kinds() []kind {
	return []kind{
		{
			one: "machine", plural: "machines", path: "machines", fields: machineFields(),
			help: "the computers that have been seen or written down",
			columns: []column{
				{"ID", "id", nil},
				{"NAME", "name", nil},
				{"MAC", "macs", showMACs},
				{"PRODUCT", "", showProduct},
				{"ASSIGNMENT", "assignment", showAssignment},
				{"ACCESS", "access", nil},
				{"GROUPS", "groups", nil},
				{"LAST SEEN", "last_seen", showTime},
			},
		},
		{
			one: "target", plural: "targets", path: "targets", fields: targetFields(),
			help: "things that can be booted",
			columns: []column{
				{"NAME", "name", nil},
				{"KIND", "kind", nil},
				{"DESTRUCTIVE", "destructive", nil},
				{"TREE", "tree", nil},
				{"TITLE", "title", nil},
			},
		},
		{
			one: "profile", plural: "profiles", path: "profiles", fields: profileFields(),
			help: "choices: a target with variables and answer files",
			columns: []column{
				{"NAME", "name", nil},
				{"TARGET", "target", nil},
				{"LOADER", "loader", nil},
				{"ANSWERS", "answers", showKeys},
				{"TITLE", "title", nil},
			},
		},
		{
			one: "group", plural: "groups", path: "groups", fields: groupFields(),
			help:    "sets of machines",
			columns: []column{{"NAME", "name", nil}, {"PROFILE", "profile", nil}, {"NOTES", "notes", nil}},
		},
		{
			one: "rule", plural: "rules", path: "rules", fields: ruleFields(),
			help: "what machines get by what they are",
			columns: []column{
				{"ORDER", "order", nil},
				{"NAME", "name", nil},
				{"PROFILE", "profile", nil},
				{"OFF", "off", nil},
				{"MATCH", "match", showMatch},
			},
		},
		{
			one: "template", plural: "templates", path: "templates", fields: templateFields(),
			help:    "texts with places for a machine's data",
			columns: []column{{"NAME", "name", nil}, {"KIND", "kind", nil}, {"NOTES", "notes", nil}},
		},
		{
			one: "settings", plural: "settings", path: "settings", single: true, fields: siteFields(),
			help: "what holds for the whole site",
		},
	}
}

func nameField() field { return field{name: "name", readOnly: true} }
func revField() field  { return field{name: "rev", typ: typeNumber, readOnly: true} }

func notesField() field { return field{name: "notes", help: "for people"} }

func variablesField() field {
	return field{name: "variables", typ: typeTexts, help: "for templates"}
}

func machineFields() []field {
	return []field{
		{name: "id", readOnly: true},
		revField(),
		{name: "name", help: "how people call it"},
		notesField(),
		{name: "tags", typ: typeList},
		{name: "groups", typ: typeList, help: "in order of precedence"},
		{name: "access", values: []string{"allow", "deny"}, help: "allow- or deny-list"},
		variablesField(),
		{name: "assignment", typ: typeObject, readOnly: true},
		{name: "uuid", help: "SMBIOS identifier, when it has not been seen yet"},
		{name: "serial", help: "SMBIOS serial number, when it has not been seen yet"},
		{name: "macs", typ: typeObjects, help: "hardware addresses; the operator's identify: 52:54:00:12:34:56,…"},
		{name: "seen", typ: typeObject, readOnly: true},
		{name: "first_seen", typ: typeTime, readOnly: true},
		{name: "last_seen", typ: typeTime, readOnly: true},
		{name: "boots", typ: typeNumber, readOnly: true},
	}
}

func targetFields() []field {
	return []field{
		nameField(),
		revField(),
		{name: "title", help: "shown in menus"},
		notesField(),
		{name: "kind", values: []string{"linux", "efi", "wimboot", "script", "chain", "san", "local", "pxelinux", "grub", "menu"}},
		{name: "destructive", typ: typeBool, help: "overwrites something: boots only when armed"},
		{name: "needs", typ: typeObject, help: "what a machine must have", sub: []field{
			{name: "memory", typ: typeNumber, help: "MiB"},
			{name: "platforms", typ: typeList, values: []string{"bios", "uefi"}},
			{name: "cpus", typ: typeList, help: "x86_64, i386, arm64, …"},
			{name: "ipxe", help: "lowest version of iPXE"},
			{name: "signed", typ: typeBool, help: "runs under Secure Boot"},
			{name: "local_disk", typ: typeBool, help: "for people; not checked"},
		}},
		{name: "tree", help: "uploaded tree that relative paths are below"},
		{name: "kernel", help: "linux: path or URL; wimboot: the wimboot program"},
		{name: "initrds", typ: typeList, help: "linux, in order"},
		{name: "cmdline", help: "linux: kernel command line, a template"},
		{name: "program", help: "efi, pxelinux, grub"},
		{name: "script", help: "script, pxelinux, grub: a template"},
		{name: "url", help: "chain"},
		{name: "wim", typ: typeObject, help: "wimboot", sub: []field{
			{name: "bcd"},
			{name: "sdi"},
			{name: "boot_wim"},
			{name: "bootmgr"},
			{name: "files", typ: typeTexts, help: "path, or answer:NAME"},
		}},
		{name: "san", typ: typeObject, help: "network disk", sub: []field{
			{name: "protocol", values: []string{"iscsi", "aoe", "http"}},
			{name: "host", help: "iscsi: server"},
			{name: "port", typ: typeNumber, help: "iscsi: default 3260"},
			{name: "lun", help: "iscsi: default 0"},
			{name: "iqn", help: "iscsi: target name, a template"},
			{name: "initiator", help: "iscsi: initiator name, a template"},
			{name: "user", help: "iscsi: CHAP"},
			{name: "password", help: "iscsi: CHAP, a secret; better @FILE"},
			{name: "shelf", help: "aoe: e0.0"},
			{name: "url", help: "http: disk image"},
			{name: "hook", typ: typeBool, help: "attach the disk, then boot another target"},
			{name: "then", help: "with hook: that target"},
			{name: "drive", typ: typeNumber, help: "BIOS drive number, default 128"},
			{name: "file", help: "EFI boot loader on the disk"},
		}},
		{name: "local", values: []string{"exit", "sanboot", "loader"}, help: "how to reach the own disk; without, by firmware"},
		{name: "menu", typ: typeObject, sub: []field{
			{name: "title"},
			{name: "seconds", typ: typeNumber, help: "until the default is taken"},
			{name: "default", help: "a harmless profile; without, the local disk"},
			{name: "entries", typ: typeObjects, help: "lines; none: every profile that the machine may see", sub: []field{
				{name: "profile"},
				{name: "title"},
				{name: "key"},
				{name: "locked", typ: typeBool},
				{name: "gap"},
			}},
		}},
	}
}

func matchFields() []field {
	return []field{
		{name: "mac", typ: typeList, help: "prefixes: 52:54:00"},
		{name: "uuid", typ: typeList},
		{name: "serial", typ: typeList},
		{name: "vendor", typ: typeList},
		{name: "product", typ: typeList},
		{name: "arch", typ: typeList},
		{name: "platform", typ: typeList, values: []string{"bios", "uefi"}},
		{name: "firmware", typ: typeList, help: "kind of the program that asks"},
		{name: "nic", typ: typeList},
		{name: "subnet", typ: typeList, help: "192.0.2.0/24"},
		{name: "tag", typ: typeList},
		{name: "name", typ: typeList},
		{name: "variables", typ: typeLists, help: "parameters of the boot script"},
	}
}

func profileFields() []field {
	return []field{
		nameField(),
		revField(),
		{name: "title", help: "shown in menus"},
		notesField(),
		{name: "target", help: "what it boots"},
		variablesField(),
		{name: "answers", typ: typeTexts, help: "answer files: the template each is made from"},
		{name: "loader", values: []string{"shim", "grub", "pxelinux"}, help: "first stage; without, iPXE"},
		{name: "visible", typ: typeObject, help: "who sees it in menus", sub: matchFields()},
		{name: "hidden", typ: typeBool, help: "in no menu that lists by itself"},
	}
}

func groupFields() []field {
	return []field{
		nameField(), revField(), notesField(),
		{name: "profile", help: "what its machines boot"},
		variablesField(),
	}
}

func ruleFields() []field {
	return []field{
		nameField(), revField(), notesField(),
		{name: "order", typ: typeNumber, help: "rules are tried from the lowest"},
		{name: "match", typ: typeObject, help: "every given field must match, by one of its values", sub: matchFields()},
		{name: "profile", help: "what the machines get"},
		{name: "off", typ: typeBool, help: "not tried"},
	}
}

func templateFields() []field {
	return []field{
		nameField(), revField(), notesField(),
		{name: "kind", values: []string{"script", "cmdline", "kickstart", "preseed", "autoinstall", "ignition", "autounattend", "autoyast", "plain"}},
		{name: "text", help: "the template; text=@FILE reads it"},
	}
}

func siteFields() []field {
	return []field{
		revField(),
		{name: "unknown", values: []string{"allow", "ask", "ignore"}, help: "machines that nobody has decided about"},
		{name: "allow_until", typ: typeTime, help: "until then all are let; see allow-all"},
		{name: "default", help: "profile for machines that nothing else decides about"},
		{name: "title", help: "of the built-in menu"},
		{name: "seconds", typ: typeNumber, help: "of the built-in menu"},
		{name: "allow", typ: typeList, help: "MAC prefixes or UUIDs"},
		{name: "deny", typ: typeList, help: "MAC prefixes or UUIDs, never answered"},
		variablesField(),
		{name: "forget_days", typ: typeNumber, help: "unknown machines are forgotten after"},
		{name: "trust_routed", typ: typeBool, help: "believe machines behind a router"},
	}
}
