// Raft scripts: a seeded course of a group of upstream's raft, in the format of its interaction
// files. Chance chooses what happens next from what the members are doing; what upstream prints is
// what ours must print.
//
//	raft-scripts COUNT    prints COUNT files, each behind a line "=== seed N"
//
// Left out is what depends on Go's own random numbers: members tick only while they lead.
package main

import (
	"bufio"
	"fmt"
	"math/rand"
	"os"
	"strconv"
	"strings"
	"testing"

	"github.com/cockroachdb/datadriven"
	"go.etcd.io/raft/v3"
	"go.etcd.io/raft/v3/rafttest"
)

const (
	members = 5
	steps   = 300
)

type script struct {
	chance *rand.Rand
	env    *rafttest.InteractionEnv
	out    *bufio.Writer
	number int
}

func main() {
	count, err := strconv.ParseInt(os.Args[1], 10, 64)
	if err != nil {
		panic(err)
	}
	out := bufio.NewWriter(os.Stdout)
	defer out.Flush()
	for seed := int64(0); seed < count; seed++ {
		fmt.Fprintf(out, "=== seed %d\n", seed)
		chance := rand.New(rand.NewSource(seed))
		s := &script{chance: chance, env: rafttest.NewInteractionEnv(nil), out: out}
		s.begin()
		for i := 0; i < steps; i++ {
			s.step()
		}
	}
}

// do runs a directive and prints it with what came of it.
func (s *script) do(input, format string, args ...any) {
	line := fmt.Sprintf(format, args...)
	command, parsed, err := datadriven.ParseLine(line)
	if err != nil {
		panic(err)
	}
	data := datadriven.TestData{Cmd: command, CmdArgs: parsed, Input: input}
	result := strings.TrimRight(s.env.Handle(&testing.T{}, data), "\n")
	if input != "" {
		input += "\n"
	}
	fmt.Fprintf(s.out, "%s\n%s----\n%s\n\n", line, input, result)
}

func (s *script) coin() bool { return s.chance.Intn(2) == 0 }

func (s *script) member() int { return 1 + s.chance.Intn(members) }

// begin makes three voters and two members that know nothing.
func (s *script) begin() {
	options := fmt.Sprintf("prevote=%v checkquorum=%v step-down-on-removal=%v", s.coin(), s.coin(), s.coin())
	if s.coin() {
		options += fmt.Sprintf(" inflight=%d", 1+s.chance.Intn(4))
	}
	if s.coin() {
		options += fmt.Sprintf(" max-committed-size-per-ready=%d", 1+s.chance.Intn(60))
	}
	s.do("", "add-nodes 3 voters=(1,2,3) index=5 %s", options)
	s.do("", "add-nodes 2 %s", options)
}

// leader is the last member that believes to lead, or 0.
func (s *script) leader() int {
	found := 0
	for i, node := range s.env.Nodes {
		if node.Status().RaftState == raft.StateLeader {
			found = i + 1
		}
	}
	return found
}

func (s *script) step() {
	id, leader := s.member(), s.leader()
	switch k := s.chance.Intn(100); {
	case k < 30:
		if s.env.Nodes[id-1].HasReady() {
			s.do("", "process-ready %d", id)
		}
	case k < 55:
		s.do("", "deliver-msgs %d", id)
	case k < 60:
		s.do("", "deliver-msgs drop=(%d)", id)
	case k < 63:
		kinds := []string{"MsgApp", "MsgAppResp", "MsgHeartbeatResp", "MsgVoteResp"}
		s.do("", "deliver-msgs %d type=%s", id, kinds[s.chance.Intn(len(kinds))])
	case k < 73:
		s.number++
		if leader != 0 && s.coin() {
			id = leader
		}
		s.do("", "propose %d p%d", id, s.number)
	case k < 77:
		if leader == 0 || s.chance.Intn(3) == 0 {
			s.do("", "campaign %d", id)
		}
	case k < 84:
		if leader != 0 {
			s.do("", "tick-heartbeat %d", leader)
		}
	case k < 86:
		if leader != 0 {
			s.do("", "tick-election %d", leader)
		}
	case k < 88:
		s.do("", "report-unreachable %d %d", id, s.member())
	case k < 90:
		s.do("", "transfer-leadership from=%d to=%d", id, s.member())
	case k < 92:
		s.changeMembers(leader)
	case k < 94:
		s.compact(id)
	case k < 96:
		s.do("", "status %d", id)
	case k < 98:
		s.do("", "raft-state")
	case k < 99:
		s.do("", "raft-log %d", id)
	default:
		if s.chance.Intn(3) == 0 {
			s.do("", "stabilize")
		} else {
			s.do("", "stabilize %d %d", id, 1+id%members)
		}
	}
}

// changeMembers never takes away the last voter, at which upstream panics.
func (s *script) changeMembers(leader int) {
	if leader == 0 {
		return
	}
	id, step := s.member(), []string{"v", "l", "r"}[s.chance.Intn(3)]
	voters := s.env.Nodes[leader-1].Status().Config.Voters[0]
	if _, votes := voters[uint64(id)]; votes && len(voters) <= 2 && step != "v" {
		return
	}
	s.do(fmt.Sprintf("%s%d", step, id), "propose-conf-change %d v1=true", leader)
}

func (s *script) compact(id int) {
	node := s.env.Nodes[id-1]
	first, err := node.Storage.FirstIndex()
	if err != nil {
		panic(err)
	}
	if applied := node.Status().Applied; applied >= first {
		s.do("", "compact %d %d", id, first+uint64(s.chance.Int63n(int64(applied-first+1))))
	}
}
