package main

import (
	"image/color"
	"os"

	"gonum.org/v1/plot"
	"gonum.org/v1/plot/plotter"
	"gonum.org/v1/plot/vg"
	"gonum.org/v1/plot/vg/draw"
	"gonum.org/v1/plot/vg/vgimg"
)

// panels are the columns that each part of the picture shows.
var panels = [][]string{
	{"resident_mb", "heap_mb"},
	{"disk_mb", "mail_streams_mb"},
	{"goroutines"},
	{"delivery_streams_mb", "dead_stream_mb"},
	{"file_descriptors"},
	{"deliveries_waiting", "dead_letters"},
}

var colours = []color.Color{color.RGBA{R: 0x1f, G: 0x77, B: 0xb4, A: 0xff}, color.RGBA{R: 0xd6, G: 0x27, B: 0x28, A: 0xff}}

// drawPanels draws every panel over the minutes of the run.
func drawPanels(name string, samples []sample) error {
	const rows, cols = 3, 2
	plots := make([][]*plot.Plot, rows)
	for i, names := range panels {
		p := plot.New()
		p.X.Label.Text, p.Y.Min = "minutes", 0
		p.Legend.Top = true
		p.Add(plotter.NewGrid())
		for k, n := range names {
			points := make(plotter.XYs, len(samples))
			for j, s := range samples {
				points[j].X, points[j].Y = s[0]/60, s[index(n)]
			}
			line, err := plotter.NewLine(points)
			if err != nil {
				return err
			}
			line.Color, line.Width = colours[k], vg.Points(1.2)
			p.Add(line)
			p.Legend.Add(n, line)
			p.Y.Max = max(p.Y.Max, 1)
		}
		p.Y.Min, p.Y.Max = 0, 1.25*p.Y.Max // room for the legend
		plots[i/cols] = append(plots[i/cols], p)
	}
	canvas := vgimg.New(28*vg.Centimeter, 24*vg.Centimeter)
	tiles := draw.Tiles{Rows: rows, Cols: cols, PadX: vg.Points(12), PadY: vg.Points(12), PadTop: vg.Points(8), PadBottom: vg.Points(8), PadLeft: vg.Points(8), PadRight: vg.Points(8)}
	for i, row := range plot.Align(plots, tiles, draw.New(canvas)) {
		for j, c := range row {
			plots[i][j].Draw(c)
		}
	}
	f, err := os.Create(name)
	if err != nil {
		return err
	}
	if _, err := (vgimg.PngCanvas{Canvas: canvas}).WriteTo(f); err != nil {
		_ = f.Close()
		return err
	}
	return f.Close()
}

func index(name string) int {
	for i, c := range columns {
		if c.name == name {
			return i
		}
	}
	return 0
}
