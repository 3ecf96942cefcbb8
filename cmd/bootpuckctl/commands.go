package main

import (
	"fmt"

	"github.com/bootpuck/bootpuck/appliance/pxesim"
)

// commands is the table of all commands, in the order of help.
func commands() []*command {
	list := looking()
	list = append(list, bootCommands()...)
	list = append(list, lanCommands()...)
	list = append(list, quirkCommands()...)
	list = append(list, machineCommands()...)
	for _, k := range kinds() {
		if k.plural != "machines" {
			list = append(list, documentCommands(k)...)
		}
	}
	list = append(list, assignmentCommands()...)
	list = append(list, treeCommands()...)
	list = append(list, exchangeCommands()...)
	return append(list, otherCommands()...)
}

func firmwareNames() []string {
	var names []string
	for _, p := range pxesim.Profiles() {
		names = append(names, p.Name)
	}
	return names
}

func jsonFlag(help string) flagDef { return flagDef{name: "json", help: help} }

func mostFlag() flagDef {
	return flagDef{name: "n", kind: flagNumber, value: "N", help: "no more than so many; without, all"}
}

func newFlag() flagDef {
	return flagDef{name: "new", help: "make it; there must be none of that name"}
}

func looking() []*command {
	return []*command{
		{
			name: "health", help: "is the box well? prints the health tree", bare: true, run: runHealth,
			flags: []flagDef{jsonFlag("print the box's answer as it is")},
		},
		{
			name: "events", help: "what happened; -f goes on as it happens", bare: true, run: runEvents,
			flags: []flagDef{
				{name: "f", help: "go on as events happen, until interrupted"},
				jsonFlag("one JSON object a line"),
				{name: "n", kind: flagNumber, value: "N", def: "50", help: "how many past events"},
			},
		},
		{
			name: "decisions", help: "what machines were told lately, and why", run: runDecisions,
			flags: []flagDef{
				{name: "n", kind: flagNumber, value: "N", def: "50", help: "how many, from the newest"},
				{name: "machine", kind: flagText, value: "MACHINE", from: wordsMachine, help: "of this machine alone"},
			},
		},
		{
			name: "preview", help: "what a machine would get now, to the letter, and why",
			args: []arg{{name: "MACHINE", from: wordsMachine}}, run: runPreview,
			flags: []flagDef{{
				name: "loader", kind: flagText, value: "LOADER", values: []string{"ipxe", "pxelinux", "grub"},
				help: "for this loader alone: ipxe, pxelinux or grub",
			}},
		},
	}
}

func machineCommands() []*command {
	k := kindByPlural("machines")
	one := []arg{{name: "MACHINE", from: wordsMachine}}
	return []*command{
		{name: "machine list", help: "list " + k.help, run: runList(k), flags: machineListFlags()},
		{name: "machine show", help: "show one machine", args: one, run: runShow(k)},
		{
			name: "machine set", help: "change what you say about a machine", run: runSet(k),
			args: []arg{one[0], {name: "KEY=VALUE", from: "pairs:machines", opt: true, many: true}},
			flags: []flagDef{
				{name: "f", kind: flagText, value: "FILE", from: wordsFile, help: "all of it, YAML or JSON; \"-\" reads the standard input"},
				newFlag(),
			},
			more: "With -new, MACHINE is the id that a machine gets which has not been seen yet;\nwrite down by what it will be known: macs=52:54:00:12:34:56, uuid= or serial=.",
		},
		{
			name: "machine edit", help: "change what you say about a machine with $EDITOR", args: one, run: runEdit(k),
			flags: []flagDef{newFlag()},
		},
		{
			name: "machine delete", help: "forget machines", run: runDelete(k),
			args: []arg{{name: "MACHINE", from: wordsMachine, many: true}},
		},
		{name: "machine observation", help: "what a machine told when it was last seen", args: one, run: runObservation},
		{
			name: "machine merge", help: "two records are one machine: put the second into the first", run: runMerge,
			args: []arg{{name: "INTO", from: wordsMachine}, {name: "FROM", from: wordsMachine}},
		},
		{
			name: "machine split", help: "one record is two machines: make a new one of a part", run: runSplit,
			args: one,
			flags: []flagDef{
				{name: "mac", kind: flagText, value: "ADDRESS", many: true, help: "the new machine takes this address along; again for more"},
				{name: "uuid", help: "the new machine takes the UUID and serial number along"},
			},
		},
	}
}

func documentCommands(k kind) []*command {
	var name, names []arg
	list, about := []*command{}, "the settings"
	flags := []flagDef{{name: "f", kind: flagText, value: "FILE", from: wordsFile, help: "all of it, YAML or JSON; \"-\" reads the standard input"}}
	edit := []flagDef{}
	if !k.single {
		about = "a " + k.one
		name = []arg{{name: "NAME", from: words(k.plural)}}
		names = []arg{{name: "NAME", from: words(k.plural), many: true}}
		flags, edit = append(flags, newFlag()), append(edit, newFlag())
		list = append(list, &command{
			name: k.one + " list", help: "list the " + k.plural + ": " + k.help, run: runList(k), flags: []flagDef{mostFlag()},
		})
	}
	list = append(list,
		&command{name: k.one + " show", help: "show " + about, args: name, run: runShow(k)},
		&command{
			name: k.one + " set", help: "make or change " + about, run: runSet(k), flags: flags,
			args: append(name[:len(name):len(name)], arg{name: "KEY=VALUE", from: words("pairs:" + k.plural), opt: true, many: true}),
			more: "Pairs change single fields and leave the others. A file is the whole document;\nwhen it has the field rev, it is refused if the box has a newer revision.",
		},
		&command{name: k.one + " edit", help: "change " + about + " with $EDITOR", args: name, run: runEdit(k), flags: edit},
	)
	if !k.single {
		list = append(list, &command{name: k.one + " delete", help: "delete " + k.plural + " that nothing refers to", args: names, run: runDelete(k)})
	}
	return list
}

func assignmentCommands() []*command {
	machine := arg{name: "MACHINE", from: wordsMachine}
	both := []arg{machine, {name: "PROFILE", from: "profiles"}}
	code := []arg{{name: "CODE", from: wordsRequest}}
	return []*command{
		{name: "assignments", help: "list what machines are assigned", run: runAssignments, flags: []flagDef{mostFlag()}},
		{
			name: "assign", help: "give a machine a profile", args: both, run: runAssign,
			flags: []flagDef{
				{name: "always", help: "at every boot; so it is without"},
				{name: "once", help: "at the next boot, then its own disk"},
			},
		},
		{
			name: "arm", help: "let a machine boot a profile that overwrites something; prints the code of its screen",
			args: both, run: runArm,
			flags: []flagDef{
				{name: "for", kind: flagTime, value: "TIME", def: "4h", help: "expires after so long: 90m, 4h, 2d"},
				{name: "boots", kind: flagNumber, value: "N", def: "1", help: "how often it may boot that"},
			},
		},
		{name: "disarm", help: "take a machine's assignment away", args: []arg{machine}, run: runDisarm},
		{name: "requests", help: "list the machines that wait for your word", run: runRequests, flags: []flagDef{mostFlag()}},
		{
			name: "approve", help: "let the machine whose screen shows the code", args: code, run: runJudge(true),
			flags: []flagDef{{name: "remember", help: "also the next time"}},
		},
		{
			name: "refuse", help: "do not let the machine whose screen shows the code", args: code, run: runJudge(false),
			flags: []flagDef{{name: "remember", help: "nor the next time"}},
		},
		{
			name: "allow-all", help: "let all unknown machines for a while", run: runAllowAll,
			flags: []flagDef{
				{name: "for", kind: flagTime, value: "TIME", help: "how long: 90m, 4h, 2d"},
				{name: "off", help: "end it now"},
			},
		},
	}
}

func treeCommands() []*command {
	k := treeKind()
	return []*command{
		{name: "tree list", help: "list the uploaded netboot trees", run: runList(k), flags: []flagDef{mostFlag()}},
		{name: "tree show", help: "show one tree", args: []arg{{name: "NAME", from: wordsTree}}, run: runShow(k)},
		{
			name: "tree upload", help: "unpack an archive on the box: tar, tar.gz or zip", run: runUpload,
			args:  []arg{{name: "NAME", from: wordsTree}, {name: "FILE", from: wordsFile}},
			flags: []flagDef{{name: "progress", help: "a line for every tenth, where no terminal shows it"}},
			more:  "A tree of that name is replaced as a whole, once the new one is complete. FILE\n\"-\" is the standard input.",
		},
		{name: "tree delete", help: "delete trees that no target uses", args: []arg{{name: "NAME", from: wordsTree, many: true}}, run: runDelete(k)},
	}
}

func exchangeCommands() []*command {
	file := []arg{{name: "FILE", from: wordsFile}}
	return []*command{
		{
			name: "export", help: "write everything you have decided as one YAML file", bare: true, run: runExport,
			args: []arg{{name: "FILE", from: wordsFile, opt: true}},
			more: "The file holds secrets: passwords, variables, answer files.",
		},
		{
			name: "import", help: "put a file's content in place of what the box has: all of it or nothing", args: file, run: runImport,
			flags: []flagDef{{name: "dry-run", help: "say what would change, and change nothing"}},
		},
		{name: "diff", help: "how the box differs from a file; exit status 2 if it does", args: file, run: runDiff},
	}
}

func otherCommands() []*command {
	return []*command{
		{
			name: "probe", help: "play a network boot client on this LAN and print each step", local: true, run: runProbe,
			flags: []flagDef{
				{name: "interface", kind: flagText, value: "NAME", def: "eth0", help: "network interface to probe from"},
				{name: "firmware", kind: flagText, value: "NAME", def: "uefi-x64", from: wordsFirmware, help: "firmware to play; see -list"},
				{name: "mac", kind: flagText, value: "ADDRESS", help: "hardware address to use instead of the interface's own"},
				{name: "lease", help: "really take an address from the site's DHCP server, and give it back"},
				jsonFlag("print the result as one JSON object"),
				{name: "list", help: "list the firmware kinds and end"},
			},
		},
		{
			name: "completion", help: "print the completion script of a shell: bash, zsh or fish", local: true, run: runCompletion,
			args: []arg{{name: "SHELL", from: wordsShell}},
			more: completionHelp,
		},
		{
			name: "version", help: "print the version", local: true,
			run: func(c *call) error {
				fmt.Fprintln(c.out, "bootpuckctl", versionText())
				return nil
			},
		},
		{
			name: "help", help: "print the help of a command", local: true, run: runHelp,
			args: []arg{{name: "COMMAND", from: wordsCommand, opt: true, many: true}},
		},
		{
			name: "__complete", help: "print what may come next", local: true, hidden: true, run: runComplete,
			args: []arg{{name: "FORM"}, {name: "WORD", opt: true, many: true}},
		},
	}
}
