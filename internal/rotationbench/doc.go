// Package rotationbench measures the rotation: the real central system, concentrators and meters in one process, over a
// database that waits for the disk, beside a floor of the same rows and commits without a key. It has benchmarks only.
package rotationbench
