package hiker

import "testing"

func TestTheAnswerToLifeTheUniverseAndEverything(t *testing.T) {
	if found := answer(); found != 42 {
		t.Errorf("the answer was %d", found)
	}
}
