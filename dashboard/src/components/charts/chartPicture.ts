/** A chart as a PNG: with title, legend and named axes, in the colours of the theme. */

import uPlot from "uplot";

import { lineStyleOf } from "@/lib/charts/lineStyles";

import { chartOptions, resolveColour } from "./chartOptions";
import { drawOn, type Plot } from "./plot";

const [WIDTH, HEIGHT] = [1200, 560]; // of the part with the axes, in CSS pixels
const [EDGE, TITLE, LINE] = [16, 40, 24];
const [SAMPLE, GAP] = [28, 8]; // of the legend's entries

interface Entry {
  label: string;
  styleIndex: number;
  x: number;
  y: number;
}

export async function chartPng(title: string, plot: Plot): Promise<Blob> {
  const page = document.body;
  const { fontFamily } = getComputedStyle(page);
  const colour = (name: string) => resolveColour(page, name);
  const chart = drawChart(plot, colour, `13px ${fontFamily}`);
  const source = chart.ctx.canvas;
  const scale = source.width / WIDTH;
  const picture = document.createElement("canvas");
  const pen = picture.getContext("2d") as CanvasRenderingContext2D;
  pen.font = `13px ${fontFamily}`;
  const { entries, bottom } = legendOf(plot, (label) => pen.measureText(label).width);
  picture.width = source.width;
  picture.height = Math.round(bottom * scale) + source.height;
  pen.fillStyle = colour("--surface");
  pen.fillRect(0, 0, picture.width, picture.height);
  pen.drawImage(source, 0, Math.round(bottom * scale));
  chart.destroy();
  pen.scale(scale, scale);
  pen.textBaseline = "middle";
  pen.fillStyle = colour("--ink");
  pen.font = `600 17px ${fontFamily}`;
  pen.fillText(title, EDGE, TITLE / 2 + GAP / 2);
  pen.font = `13px ${fontFamily}`;
  for (const entry of entries) drawEntry(pen, entry, colour);
  return new Promise((resolve, reject) => {
    picture.toBlob((blob) => (blob ? resolve(blob) : reject(new Error("The browser could not make the picture."))), "image/png");
  });
}

function drawChart(plot: Plot, colour: (name: string) => string, font: string): uPlot {
  const options = chartOptions(plot, { colour, font });
  const [x, y] = options.axes as [uPlot.Axis, uPlot.Axis];
  const named = { ...x, size: 32, label: plot.axis === "time" ? "time of training" : plot.axis, labelFont: font, labelSize: 28 };
  const whole = { ...options, width: WIDTH, height: HEIGHT, axes: [named, { ...y, size: 76 }], cursor: { show: false } };
  const chart = new uPlot(whole, [[]], (_, begin) => begin());
  drawOn(chart, plot);
  return chart;
}

/** Returns the entries of the legend, in lines as wide as the picture, and the y where the chart begins. */
function legendOf({ drawn }: Plot, widthOf: (label: string) => number): { entries: Entry[]; bottom: number } {
  let [x, y] = [EDGE, TITLE + LINE / 2];
  const entries = drawn.map(({ label, styleIndex }) => {
    const width = SAMPLE + GAP + widthOf(label);
    if (x > EDGE && x + width > WIDTH - EDGE) [x, y] = [EDGE, y + LINE];
    const entry = { label, styleIndex, x, y };
    x += width + 3 * GAP;
    return entry;
  });
  return { entries, bottom: y + LINE };
}

function drawEntry(pen: CanvasRenderingContext2D, { label, styleIndex, x, y }: Entry, colour: (name: string) => string): void {
  const style = lineStyleOf(styleIndex);
  pen.strokeStyle = colour(style.colour);
  pen.lineWidth = 2.5;
  pen.setLineDash([...style.dash]);
  pen.beginPath();
  pen.moveTo(x, y);
  pen.lineTo(x + SAMPLE, y);
  pen.stroke();
  pen.fillStyle = colour("--ink");
  pen.fillText(label, x + SAMPLE + GAP, y);
}
