package pipeline

import (
	"errors"
	"fmt"
	"strings"
	"testing"
)

// frameOf is a template that puts hostile values into every position of a place.
func frameOf(place Place) string {
	switch place {
	case InSubject:
		return "in.{local}.{tag}-{captures.a}.x"
	case InTopic:
		return "in.{local}_{tag}.{captures.a}"
	}
	return "in/{local}/{tag}.{captures.a}/x"
}

// checkStreamName holds what came out against the rules of NATS subjects and Kafka topics.
func checkStreamName(place Place, got string) error {
	if place == InTopic {
		if len(got) > maxTopic || strings.ContainsFunc(got, func(r rune) bool { return !topicRune(r) }) {
			return fmt.Errorf("is no topic, %d bytes", len(got))
		}
		return nil
	}
	tokens := strings.Split(got, ".")
	if len(tokens) != 4 {
		return fmt.Errorf("has %d tokens, want 4", len(tokens))
	}
	for _, token := range tokens {
		if token == "" || strings.ContainsAny(token, " *>\t\r\n") {
			return fmt.Errorf("has the token %q", token)
		}
	}
	return nil
}

func TestSubjectsAndTopicsAreFitForTheirServers(t *testing.T) {
	t.Parallel()
	d := templateDelivery(Recipient{Address: "Support+42@mail.example.com", Local: "Support", Tag: "42", Domain: "mail.example.com", Captures: map[string]string{"a": "a_b", "b": "a.b", "c": "ü"}})
	for _, tt := range []struct {
		place      Place
		text, want string
	}{
		{InSubject, "mail.{domain}.{local}", "mail.mail_example_com.support"},
		{InSubject, "mail.{captures.b}", "mail.a_b"},
		{InSubject, "mail.{captures.a}", "mail.a_b-" + mark("a_b")},
		{InSubject, "mail.{captures.none}.{kind}", "mail._.bounce"},
		{InTopic, "mail.{domain}", "mail.mail.example.com"},
		{InTopic, "{recipient}", "support_42_mail.example.com-" + mark("support+42@mail.example.com")},
		{InTopic, "t-{captures.c}", "t-_-" + mark("ü")},
	} {
		if got := expand(t, tt.text, tt.place, d); got != tt.want {
			t.Errorf("%s became %q, want %q", tt.text, got, tt.want)
		}
	}
}

func TestSubjectsAndTopicsThatNoServerTakesAreRefused(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		place      Place
		text, want string
	}{
		{InSubject, "mail..{domain}", "column 1: the subject has an empty token"},
		{InSubject, "mail.", "column 1: the subject has an empty token"},
		{InSubject, ".mail", "column 1: the subject has an empty token"},
		{InSubject, "mail.*", "column 1: the subject has a space, a wildcard"},
		{InSubject, "mail.>", "column 1: the subject has a space, a wildcard"},
		{InSubject, "mail in.{domain}", "column 1: the subject has a space"},
		{InSubject, "$JS.API.{domain}", "column 1: subjects that begin with $"},
		{InTopic, "mail/{domain}", "column 1: names of topics have letters"},
		{InTopic, "Mäil", "column 1: names of topics have letters"},
		{InTopic, "..", "column 1: a topic cannot be called .."},
		{InTopic, strings.Repeat("x", 250), "column 1: names of topics have at most 249"},
	} {
		_, err := ParseTemplate(tt.text, tt.place)
		var at *TemplateError
		if !errors.As(err, &at) || !strings.HasPrefix(err.Error(), tt.want) {
			t.Errorf("%q: %v, want %s", tt.text, err, tt.want)
		}
	}
}
