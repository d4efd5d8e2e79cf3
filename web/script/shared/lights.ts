// Lights, as the template macro `light` draws them.

export type Colour = "start" | "red" | "amber" | "green" | "timed_out" | "faulty";

/** A light, as server-sent events have it. `time` is in milliseconds, `duration` in seconds. */
export interface Light {
  avatar: string;
  number: number;
  colour: Colour;
  time: number;
  duration?: number;
  reason?: string;
  predicted?: Colour;
  source?: { kata_id: string; avatar: string; number: number };
  writer?: string;
  added?: number;
  deleted?: number;
  counts?: { passed: number; failed: number; skipped: number };
}

const SVG = "http://www.w3.org/2000/svg";

/** Returns the word for a colour. */
export const wordOf = (colour: Colour): string => colour.replace("_", " ");

/** Draws a light. `label` is what screen readers say: by default its word; "" hides it. */
export function drawLight(colour: Colour, label = wordOf(colour)): HTMLSpanElement {
  const span = document.createElement("span");
  span.className = `light light-${colour}`;
  if (label) {
    span.setAttribute("role", "img");
    span.setAttribute("aria-label", label);
  } else span.setAttribute("aria-hidden", "true");
  const svg = document.createElementNS(SVG, "svg");
  svg.setAttribute("viewBox", "0 0 24 24");
  svg.setAttribute("aria-hidden", "true");
  const use = document.createElementNS(SVG, "use");
  use.setAttribute("href", `#light-${colour}`);
  svg.append(use);
  span.append(svg);
  return span;
}
