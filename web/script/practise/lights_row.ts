// The row of an avatar's lights: what each was on hover and focus, and more when it is pressed.
import { drawLight, type Light, wordOf } from "../shared/lights.ts";
import { element, get, make } from "../shared/page.ts";

interface Changed {
  name: string;
  added: number;
  deleted: number;
}

/** Returns what is to be said of a light, a line each. */
export function factsOf(light: Light): string[] {
  const facts = [`${timeOf(light.time)}`];
  if (light.predicted) {
    const isRight = light.predicted === light.colour;
    facts.push(`predicted ${wordOf(light.predicted)}, ${isRight ? "right" : "wrong"}`);
  }
  if (light.source) {
    const { avatar, number } = light.source;
    facts.push(`files of ${avatar === light.avatar ? "" : `${avatar}'s `}light ${number}`);
  }
  if (light.counts) {
    const { passed, failed, skipped } = light.counts;
    facts.push(`${passed} passed, ${failed} failed${skipped ? `, ${skipped} skipped` : ""}`);
  }
  if (light.duration !== undefined) facts.push(`ran ${light.duration.toFixed(1)} s`);
  if (light.reason) facts.push(light.reason);
  return facts;
}

export const nameOf = (light: Light): string =>
  light.number === 0 ? "The start" : `Light ${light.number}, ${wordOf(light.colour)}`;

export function timeOf(milliseconds: number): string {
  const then = new Date(milliseconds);
  const time = then.toLocaleTimeString([], { hour: "2-digit", minute: "2-digit", second: "2-digit" });
  const isToday = then.toDateString() === new Date().toDateString();
  return isToday ? time : `${then.toLocaleDateString()} ${time}`;
}

export class LightsRow {
  readonly lights: Light[] = [];
  private readonly row = element("lights");
  private readonly details = make("div", { className: "light-details" });
  private readonly changes = new Map<number, Changed[]>();

  /** `path` is the avatar's; `onPress` is called with a light that somebody wants to know more of. */
  constructor(
    private readonly path: string,
    onPress: (light: Light) => void,
  ) {
    this.details.id = "light-details";
    this.details.setAttribute("role", "tooltip");
    this.details.hidden = true;
    element("main").append(this.details);
    this.row.addEventListener("keydown", (event) => this.move(event));
    this.row.addEventListener("click", (event) => {
      const light = this.lightOf(event.target);
      if (light) onPress(light);
    });
    for (const kind of ["pointerover", "focusin"])
      this.row.addEventListener(kind, (event) => void this.tell(event.target));
    for (const kind of ["pointerleave", "focusout"])
      this.row.addEventListener(kind, () => this.hide());
    addEventListener("keydown", (event) => event.key === "Escape" && this.hide());
  }

  /** Shows lights that happened; those from the first of them on are replaced. */
  add(lights: Light[]): void {
    const atEnd = this.row.scrollLeft + this.row.clientWidth >= this.row.scrollWidth - 4;
    for (const light of lights) {
      if (this.lights[light.number]?.time === light.time) continue;
      this.lights.length = Math.min(this.lights.length, light.number);
      while (this.row.children.length > light.number) this.row.lastChild!.remove();
      if (this.lights.length < light.number) continue; // its predecessors come first
      this.lights.push(light);
      this.row.append(this.button(light));
    }
    const buttons = [...this.row.children] as HTMLElement[];
    if (!buttons.some((button) => button === document.activeElement))
      buttons.forEach((button, place) => (button.tabIndex = place === buttons.length - 1 ? 0 : -1));
    if (atEnd) this.row.scrollLeft = this.row.scrollWidth;
  }

  /** Returns how many lines of which files a light changed. */
  async changesOf(light: Light): Promise<Changed[]> {
    let found = this.changes.get(light.number);
    if (!found) {
      const asked = await get<{ files: Changed[] }>(`${this.path}/changes/${light.number}`);
      found = asked.files;
      this.changes.set(light.number, found);
    }
    return found;
  }

  private button(light: Light): HTMLButtonElement {
    const button = make("button", { className: "quiet appears" }, drawLight(light.colour, ""));
    button.type = "button";
    button.dataset.number = String(light.number);
    const isWrong = light.predicted && light.predicted !== light.colour;
    if (light.predicted) button.append(make("span", { className: "mark", text: isWrong ? "✗" : "✓" }));
    else if (light.source) button.append(make("span", { className: "mark", text: "↶" }));
    button.setAttribute("aria-label", [nameOf(light), ...factsOf(light)].join(", "));
    button.setAttribute("aria-haspopup", "dialog");
    return button;
  }

  private lightOf(target: EventTarget | null): Light | undefined {
    const number = (target as Element | null)?.closest<HTMLElement>("[data-number]")?.dataset.number;
    return number === undefined ? undefined : this.lights[Number(number)];
  }

  private move(event: KeyboardEvent): void {
    const buttons = [...this.row.children] as HTMLElement[];
    const at = buttons.indexOf(document.activeElement as HTMLElement);
    const to = { ArrowLeft: at - 1, ArrowRight: at + 1, Home: 0, End: buttons.length - 1 }[event.key];
    if (at < 0 || to === undefined) return;
    event.preventDefault();
    const button = buttons[Math.max(0, Math.min(to, buttons.length - 1))]!;
    buttons.forEach((each) => (each.tabIndex = each === button ? 0 : -1));
    button.focus();
  }

  private async tell(target: EventTarget | null): Promise<void> {
    const light = this.lightOf(target);
    if (!light) return;
    const button = this.row.children[light.number] as HTMLElement;
    const lines = [nameOf(light), ...factsOf(light)];
    const show = (more: string[]): void => {
      this.details.replaceChildren(...[...lines, ...more].map((text) => make("div", { text })));
      this.details.hidden = false;
      const { left, bottom } = button.getBoundingClientRect();
      const room = document.documentElement.clientWidth - this.details.offsetWidth - 8;
      this.details.style.left = `${Math.max(8, Math.min(left, room))}px`;
      this.details.style.top = `${bottom + scrollY + 4}px`;
      this.details.dataset.number = String(light.number);
    };
    show([]);
    if (light.number === 0) return;
    const changed = await this.changesOf(light).catch(() => []);
    if (this.details.hidden || this.details.dataset.number !== String(light.number)) return;
    show(linesOf(changed));
  }

  private hide(): void {
    this.details.hidden = true;
  }
}

/** Returns what is said of the lines that a light changed. */
export const linesOf = (changed: Changed[]): string[] =>
  changed.length === 0
    ? ["no line changed"]
    : changed.slice(0, 8).map(({ name, added, deleted }) => `${name}: +${added} −${deleted}`);
