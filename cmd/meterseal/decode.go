package main

import (
	"fmt"
	"io"
	"os"
	"strings"

	"github.com/spf13/cobra"

	"github.com/meterseal/meterseal/dlms/decode"
)

// maxDecodeInput bounds one input, in characters: an hour of a meter's pushes is far below.
const maxDecodeInput = 8 << 20

const decodeHelp = `Shows what DLMS/COSEM bytes mean: HDLC frames, the COSEM wrapper, wired M-Bus frames of customer interfaces, and
APDUs without a link, one or several behind the other. What it is it finds out by itself. Segments and blocks are put
together.

Bytes come in hexadecimal, with or without spaces, colons, dashes, commas and 0x, as arguments, from @FILE or --file
FILE, or without either from standard input. A blank line begins a new input, # a comment.

With --keys ciphered APDUs are deciphered. The file is that of 'meterseal dlms', or {"system_title": ..., "unicast":
..., "authentication": ..., "dedicated": ..., "broadcast": ..., "master": ..., "client_title": ...} in hexadecimal, all
but one key optional, or a list of such objects for several meters. Others must not be able to read it: chmod 600.
Keys and passwords are never shown. The dedicated key of an InitiateRequest that could be deciphered serves for the
APDUs behind it. What is encrypted and not authenticated is shown, and said to be so: anybody may have written it.

Each line has the offset and size of its bytes, the name, the value, notes behind --, errors behind !!, and the
bytes. Offsets with ' count within what was deciphered or put together. With --json each input is one JSON object on
a line.

Exit codes: 0 all of it was understood, 1 something was not, or a file cannot be read, 2 the command line or the
hexadecimal on it cannot be understood. What no key was given for is no error.`

func decodeCommand() *cobra.Command {
	var f decodeFlags
	c := &cobra.Command{
		Use:   "decode [HEX | @FILE]...",
		Short: "Show what DLMS frames and APDUs mean, deciphered where keys are given",
		Long:  decodeHelp,
		Example: `  meterseal decode C0 01 C1 0003 0100010800FF 02 00
  meterseal decode --keys keys.json @telegram.txt
  meterseal decode --json --file capture.hex | jq '.. | .error? // empty'
  xxd -p -c0 push.bin | meterseal decode --keys keys.json`,
		Args: cobra.ArbitraryArgs,
		RunE: func(c *cobra.Command, args []string) error { return f.run(c, args) },
	}
	c.Flags().StringVar(&f.keys, "keys", "", "`file` with the keys to decipher with")
	c.Flags().StringArrayVar(&f.files, "file", nil, "`file` with hexadecimal; may be given several times")
	c.Flags().BoolVar(&f.json, "json", false, "print each input as one JSON object on a line")
	return c
}

type decodeFlags struct {
	keys  string
	files []string
	json  bool
}

// decodeInput is bytes to decode, and where they came from.
type decodeInput struct {
	from string
	b    []byte
}

func (f *decodeFlags) run(c *cobra.Command, args []string) error {
	inputs, err := f.inputs(c, args)
	if err != nil {
		return err
	}
	var o decode.Options
	if f.keys != "" {
		var warnings []string
		if o.Keys, warnings, err = loadDecodeKeys(f.keys); err != nil {
			return err
		}
		for _, w := range warnings {
			notef(c, "%s", w)
		}
	}
	return f.show(c, inputs, o)
}

// show prints every input, and fails at the end if one holds something that is not understood.
func (f *decodeFlags) show(c *cobra.Command, inputs []decodeInput, o decode.Options) error {
	var first error
	for i, in := range inputs {
		tree := decode.Decode(in.b, o)
		if err := f.print(c, tree, i > 0); err != nil {
			return err
		}
		if bad := tree.FirstError(); bad != nil && first == nil {
			first = fmt.Errorf("%s: %s at byte %d: %s", in.from, bad.Name, bad.Offset, bad.Error)
		}
	}
	if first == nil {
		return nil
	}
	if len(inputs) > 1 {
		first = fmt.Errorf("not everything was understood, the first of it: %w", first)
	}
	return withHint(first, "what could be understood is on standard output; look for !! there")
}

func (f *decodeFlags) print(c *cobra.Command, tree *decode.Node, further bool) error {
	if f.json {
		return printJSON(c, tree)
	}
	if further {
		if err := printf(c, "\n"); err != nil {
			return err
		}
	}
	return tree.WriteText(c.OutOrStdout())
}

// inputs reads arguments, then files; standard input where there is neither.
func (f *decodeFlags) inputs(c *cobra.Command, args []string) (all []decodeInput, err error) {
	var typed []string
	files := f.files
	for _, a := range args {
		if name, ok := strings.CutPrefix(a, "@"); ok {
			files = append(files, name)
			continue
		}
		typed = append(typed, a)
	}
	if len(typed) > 0 {
		if all, err = parseHexInputs("argument", strings.Join(typed, " ")); err != nil {
			return nil, usage(c, "%w", err)
		}
	}
	for _, name := range files {
		more, err := hexFile(name)
		if err != nil {
			return nil, err
		}
		all = append(all, more...)
	}
	if len(typed)+len(files) == 0 {
		if all, err = readHex("standard input", c.InOrStdin()); err != nil {
			return nil, err
		}
	}
	if len(all) == 0 {
		return nil, usage(c, "no bytes to decode: want HEX, @FILE, --file or standard input")
	}
	return all, nil
}

func hexFile(name string) ([]decodeInput, error) {
	r, err := os.Open(name)
	if err != nil {
		return nil, err
	}
	defer func() { _ = r.Close() }() // read only: nothing to lose
	return readHex(name, r)
}

func readHex(from string, r io.Reader) ([]decodeInput, error) {
	b, err := io.ReadAll(io.LimitReader(r, maxDecodeInput+1))
	if err != nil {
		return nil, err
	}
	if len(b) > maxDecodeInput {
		return nil, fmt.Errorf("%s: more than %d characters", from, maxDecodeInput)
	}
	all, err := parseHexInputs(from, string(b))
	if err != nil {
		return nil, withHint(err, "want hexadecimal digits, spaces, colons, dashes, commas, 0x, and comments behind #")
	}
	return all, nil
}
