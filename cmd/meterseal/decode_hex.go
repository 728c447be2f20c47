package main

import (
	"encoding/hex"
	"fmt"
	"strings"
)

// parseHexInputs reads hexadecimal as people paste it. Blank lines part one input from the next.
func parseHexInputs(from, text string) (all []decodeInput, err error) {
	var digits strings.Builder
	begun := 1
	flush := func() error {
		if digits.Len() == 0 {
			return nil
		}
		if digits.Len()%2 != 0 {
			return fmt.Errorf("%s: line %d: %d hexadecimal digits, which is not a whole number of bytes", from, begun, digits.Len())
		}
		b, err := hex.DecodeString(digits.String())
		if err != nil {
			return fmt.Errorf("%s: line %d: not hexadecimal", from, begun)
		}
		all = append(all, decodeInput{from, b})
		digits.Reset()
		return nil
	}
	for i, line := range strings.Split(strings.TrimPrefix(text, "\ufeff"), "\n") {
		if strings.TrimSpace(line) == "" {
			if err := flush(); err != nil {
				return nil, err
			}
			begun = i + 2
			continue
		}
		if err := hexLine(&digits, line); err != nil {
			return nil, fmt.Errorf("%s: line %d: %w", from, i+1, err)
		}
	}
	return all, flush()
}

// hexLine adds the digits of one line. What else stands there is not repeated in the error: it may be a key that was
// pasted in the wrong place.
func hexLine(digits *strings.Builder, line string) error {
	line, _, _ = strings.Cut(line, "#")
	line = strings.NewReplacer("0x", " ", "0X", " ", `\x`, " ").Replace(line)
	for i, r := range line {
		switch {
		case strings.ContainsRune("0123456789abcdefABCDEF", r):
			digits.WriteRune(r)
		case strings.ContainsRune(" \t\r:-,;_.'\"[]{}()", r):
		default:
			return fmt.Errorf("character %d is not hexadecimal", i+1)
		}
	}
	return nil
}
