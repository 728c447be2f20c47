package keysfile

import (
	"bufio"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"strconv"
	"sync"
	"testing"
	"time"

	"github.com/meterseal/meterseal/dlms"
)

// spendEnv makes the test binary a process that spends counters until it is killed.
const spendEnv = "METERSEAL_TEST_SPEND"

func TestMain(m *testing.M) {
	if path := os.Getenv(spendEnv); path != "" {
		spend(path)
		return
	}
	os.Exit(m.Run())
}

func spend(path string) {
	c, err := OpenCounters(path)
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	for s := c.Send(testName()); ; {
		ic, err := s.Next()
		if err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		fmt.Fprintln(os.Stdout, ic)
	}
}

// spent collects what processes print, and finds values printed twice.
type spent struct {
	mu    sync.Mutex
	seen  map[dlms.InvocationCounter]bool
	twice []dlms.InvocationCounter
}

func (s *spent) add(ic dlms.InvocationCounter) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.seen[ic] {
		s.twice = append(s.twice, ic)
	}
	s.seen[ic] = true
}

// run starts a spender, reads n values, kills it with SIGKILL and reads what it still had in the pipe.
func (s *spent) run(path string, n int) error {
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), spendEnv+"="+path)
	cmd.Stderr = os.Stderr
	out, err := cmd.StdoutPipe()
	if err != nil {
		return err
	}
	if err := cmd.Start(); err != nil {
		return err
	}
	lines, got := bufio.NewScanner(out), 0
	for lines.Scan() {
		ic, err := strconv.ParseUint(lines.Text(), 10, 32)
		if err != nil {
			break // a line cut by the kill
		}
		s.add(dlms.InvocationCounter(ic))
		if got++; got == n {
			if err := cmd.Process.Kill(); err != nil {
				return err
			}
		}
	}
	_ = cmd.Wait() // it was killed
	if got < n {
		return fmt.Errorf("the process ended after %d values", got)
	}
	return nil
}

func TestKilledAndConcurrentProcessesNeverSpendACounterTwice(t *testing.T) {
	path, all := keysPath(t), &spent{seen: map[dlms.InvocationCounter]bool{}}
	var wg sync.WaitGroup
	for p := range 3 {
		wg.Go(func() {
			for i := range 5 {
				if err := all.run(path, 1+p*211+i*97); err != nil {
					t.Error(err)
				}
			}
		})
	}
	wg.Wait()
	if len(all.twice) > 0 {
		t.Errorf("%d of %d values were spent twice, the first %d", len(all.twice), len(all.seen), all.twice[0])
	}
	if len(all.seen) < 1000 {
		t.Errorf("only %d values were spent", len(all.seen))
	}
}

func TestASecondUserWaitsForTheFirst(t *testing.T) {
	path := keysPath(t) + Suffix + lockSuffix
	unlock, err := lockFile(path, 1)
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan error, 1)
	go func() {
		second, err := lockFile(path, 1000)
		if err == nil {
			second()
		}
		done <- err
	}()
	time.Sleep(5 * lockPoll)
	select {
	case err := <-done:
		t.Fatalf("the second user did not wait: %v", err)
	default:
	}
	unlock()
	if err := <-done; err != nil {
		t.Errorf("after the first had finished: %v", err)
	}
}

func TestASecondUserThatWaitsInVainSaysSo(t *testing.T) {
	path := keysPath(t) + Suffix + lockSuffix
	unlock, err := lockFile(path, 1)
	if err != nil {
		t.Fatal(err)
	}
	defer unlock()
	if _, err := lockFile(path, 3); !errors.Is(err, ErrBusy) {
		t.Errorf("want %v, got %v", ErrBusy, err)
	}
}
