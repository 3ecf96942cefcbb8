package pxesim

// Code is the short name under which a firmware reports a failed boot: a PXE error code where the
// firmware prints one, its own words otherwise. Empty means success.
type Code string

// Codes of EDK2 (PxeBcBoot.c, PxeBcLoadBootFile) and of BIOS ROMs (PXE 2.1, Intel Boot Agent). The
// two share numbers, not meanings.
const (
	// CodeE16 (EDK2): no usable offer, or no answer on port 4011.
	CodeE16 Code = "PXE-E16"
	// CodeE18 (EDK2): the TFTP server or a boot server did not answer.
	CodeE18 Code = "PXE-E18"
	// CodeE21 (EDK2): remote boot cancelled; also printed when 43.6 leaves nothing to boot.
	CodeE21 Code = "PXE-E21"
	// CodeE23 (EDK2): the TFTP server sent an error.
	CodeE23 Code = "PXE-E23"
	// CodeE99 (EDK2): unexpected network error; among others an OACK that breaks its rules.
	CodeE99 Code = "PXE-E99"
	// CodeE07 (EDK2): network device error; among others a menu without its boot server.
	CodeE07 Code = "PXE-E07"
	// CodeE05 (EDK2): the file does not fit.
	CodeE05 Code = "PXE-E05"
	// CodeE32 (BIOS): TFTP open time-out.
	CodeE32 Code = "PXE-E32"
	// CodeE35 (BIOS): TFTP read time-out.
	CodeE35 Code = "PXE-E35"
	// CodeE36 (BIOS): error received from the TFTP server.
	CodeE36 Code = "PXE-E36"
	// CodeE3B (BIOS): TFTP error, file not found (after PXE-T01).
	CodeE3B Code = "PXE-E3B"
	// CodeE51 (BIOS): no DHCP offer and no proxy offer, or no ACK.
	CodeE51 Code = "PXE-E51"
	// CodeE52 (BIOS): proxy offers, but no DHCP offer.
	CodeE52 Code = "PXE-E52"
	// CodeE53 (BIOS): no boot file name received.
	CodeE53 Code = "PXE-E53"
	// CodeE55 (BIOS): the proxy did not answer on port 4011.
	CodeE55 Code = "PXE-E55"
	// CodeE74 (BIOS): bad or missing menu or prompt.
	CodeE74 Code = "PXE-E74"
	// CodeE77 (BIOS): bad or missing discovery server list.
	CodeE77 Code = "PXE-E77"
	// CodeE78 (BIOS): no boot server found.
	CodeE78 Code = "PXE-E78"
)

// Codes for firmware without numbers.
const (
	// CodeNoConfig (iPXE): "No configuration methods succeeded".
	CodeNoConfig Code = "iPXE: no configuration methods succeeded"
	// CodeNothing (iPXE): "Nothing to boot".
	CodeNothing Code = "iPXE: nothing to boot"
	// CodeFetch (iPXE): the URL could not be fetched.
	CodeFetch Code = "iPXE: fetch failed"
	// CodeUnsupported (iPXE): the URL's scheme is not in this build.
	CodeUnsupported Code = "iPXE: operation not supported"
	// CodeLocalBoot: a menu entry of type 0 was the default: the client boots its own disk.
	CodeLocalBoot Code = "local boot"
	// CodeHTTPNoOffer (HttpBootDxe): no pair of offers it can use.
	CodeHTTPNoOffer Code = "HTTP Boot: no usable offer"
	// CodeHTTPSize (HttpBootDxe): "Could not retrieve NBP file size from HTTP server".
	CodeHTTPSize Code = "HTTP Boot: could not retrieve NBP file size"
	// CodeHTTPServer (HttpBootDxe): the HTTP server answered with an error or a redirect.
	CodeHTTPServer Code = "HTTP Boot: server response error"
	// CodeHTTPTimeout (HttpBootDxe): no connection.
	CodeHTTPTimeout Code = "HTTP Boot: server response timeout"
	// CodePiDHCP (Raspberry Pi): no address, or no offer with the Pi's menu entry.
	CodePiDHCP Code = "Raspberry Pi: DHCP timeout"
	// CodePiTFTP (Raspberry Pi): the first boot file could not be fetched.
	CodePiTFTP Code = "Raspberry Pi: TFTP failed"
)
