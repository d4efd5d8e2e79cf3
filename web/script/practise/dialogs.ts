// The dialogs of the editor: a light, others' files, options, the personal link.
import { type Light, wordOf } from "../shared/lights.ts";
import { element, get, make, Refused, send } from "../shared/page.ts";
import { factsOf, type LightsRow, linesOf, nameOf, timeOf } from "./lights_row.ts";
import { notice } from "./notices.ts";
import type { KataOptions, Options, Session } from "./session.ts";

/** Opens dialogs by their buttons. `checkOut` makes a light of another one's files. */
export class Dialogs {
  constructor(
    private readonly session: Session,
    private readonly row: () => LightsRow,
    private readonly checkOut: (avatar: string, number: number) => Promise<void>,
    private readonly onOptions: () => void,
  ) {
    const open = (button: string, dialog: string, before = (): void => undefined): void =>
      element(button).addEventListener("click", () => {
        before();
        element<HTMLDialogElement>(dialog).showModal();
      });
    open("my-link", "link-dialog");
    open("open-options", "options-dialog", () => this.fillOptions());
    open("open-others", "others-dialog", () => void this.fillOthers());
    element("link").addEventListener("focus", () => element<HTMLInputElement>("link").select());
    element("options-dialog").addEventListener("change", (event) => void this.setOption(event));
    element("others-take").addEventListener("click", () => {
      const avatar = element<HTMLSelectElement>("others-avatar").value;
      const number = element<HTMLSelectElement>("others-light").value;
      element<HTMLDialogElement>("others-dialog").close();
      void this.checkOut(avatar, Number(number));
    });
  }

  /** Shows a light of one's own, from which one can go back to it. */
  async light(light: Light): Promise<void> {
    const { session } = this;
    const dialog = element<HTMLDialogElement>("light-dialog");
    const facts = element("light-facts");
    element("light-title").textContent = nameOf(light);
    const show = (lines: string[]): void =>
      facts.replaceChildren(...lines.map((text) => make("p", { text })));
    show(factsOf(light));
    const review = element<HTMLAnchorElement>("light-review");
    const { kata_id, avatar } = session.state;
    const was = Math.max(light.number - 1, 0);
    review.href = `/kata/${kata_id}/review?avatar=${avatar}&was=${was}&now=${light.number}`;
    const back = element<HTMLButtonElement>("light-check-out");
    const isNewest = light.number === session.newest.number;
    back.textContent = isNewest && !session.isAsRecorded ? "Undo what was typed since" : "Go back to it";
    back.disabled = isNewest && session.isAsRecorded;
    back.onclick = () => {
      dialog.close();
      void this.checkOut(avatar, light.number);
    };
    dialog.showModal();
    if (light.number === 0) return;
    try {
      show([...factsOf(light), ...linesOf(await this.row().changesOf(light))]);
    } catch {
      // The lines can't be told now; what the light was stands there already.
    }
  }

  private fillOptions(): void {
    const { option } = this.session;
    element<HTMLSelectElement>("option-theme").value = option.theme ?? "";
    for (const name of ["predict", "revert_red", "revert_amber", "revert_green"] as const)
      element<HTMLInputElement>(`option-${name}`).checked = option[name] ?? false;
    element<HTMLInputElement>("option-syntax_colour").checked = option.syntax_colour ?? true;
  }

  private async setOption(event: Event): Promise<void> {
    const input = event.target as HTMLInputElement | HTMLSelectElement;
    const name = input.id.replace("option-", "") as keyof Options;
    const value = input instanceof HTMLInputElement ? input.checked : input.value || null;
    try {
      const response = await send(`${this.session.path}/options`, { [name]: value });
      this.session.options = (await response.json()) as KataOptions;
    } catch (error) {
      if (!(error instanceof Refused)) throw error;
      notice("options", `The option is not set: ${error.trouble.title}. ${error.trouble.text}`);
    }
    this.fillOptions();
    this.onOptions();
  }

  private async fillOthers(): Promise<void> {
    const avatars = element<HTMLSelectElement>("others-avatar");
    const lights = element<HTMLSelectElement>("others-light");
    const none = element("others-none");
    const take = element<HTMLButtonElement>("others-take");
    avatars.replaceChildren();
    lights.replaceChildren();
    take.disabled = true;
    let found: Light[] = [];
    try {
      found = (await get<{ lights: Light[] }>(`${this.session.path}/others`)).lights;
    } catch (error) {
      if (!(error instanceof Refused)) throw error;
      none.hidden = false;
      none.textContent = `${error.trouble.title}. ${error.trouble.text}`;
      return;
    }
    const names = [...new Set(found.map(({ avatar }) => avatar))];
    none.hidden = names.length > 0;
    none.textContent = "Nobody else is here yet.";
    take.disabled = names.length === 0;
    avatars.replaceChildren(...names.map((name) => new Option(name)));
    const showLights = (): void => {
      const own = found.filter(({ avatar }) => avatar === avatars.value).reverse();
      lights.replaceChildren(
        ...own.map(({ number, colour, time }) => {
          const name = number === 0 ? "the start" : `${number}, ${wordOf(colour)}, ${timeOf(time)}`;
          return new Option(name, String(number));
        }),
      );
    };
    avatars.onchange = showLights;
    showLights();
  }
}
