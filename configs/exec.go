package configs

import "mxhook/sinks/exec"

// Exec is a program on this machine; Config.AllowExec must be set. Memory bounds each of its processes, 0 not at all.
type Exec struct {
	Command []string   `yaml:"command"`
	Env     []Variable `yaml:"env"`
	Memory  Size       `yaml:"memory"`
}

// Variable is a variable of a program. Its value is often a credential.
type Variable struct {
	Name  string `yaml:"name"`
	Value Secret `yaml:"value"`
}

func (Exec) defaulted() any { return Exec{Memory: gigabyte} }

func (e *Exec) options() *exec.Options {
	o := &exec.Options{Command: e.Command, Memory: int64(e.Memory)}
	for _, v := range e.Env {
		o.Env = append(o.Env, v.Name+"="+v.Value.Reveal())
	}
	return o
}
