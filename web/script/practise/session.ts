// What an editor is of: an avatar, its newest light, and its files as they are now.
import type { Light } from "../shared/lights.ts";
import type { Edit } from "../shared/events.ts";
import { applied, type Content, type Difference, difference, type Files, filesOf, inOrder, same, sameFiles, type SentFile } from "./files.ts";
import type { Output } from "./press.ts";

export interface Options {
  theme?: "light" | "dark";
  syntax_colour?: boolean;
  predict?: boolean;
  revert_red?: boolean;
  revert_amber?: boolean;
  revert_green?: boolean;
}

export interface KataOptions {
  kata: Options;
  avatars: Record<string, Options>;
}

/** All that an editor opens with, as the web tier tells it. */
export interface State {
  kata_id: string;
  avatar: string;
  display_name: string;
  tab_size: number;
  highlight: string[];
  extensions: string[];
  options: KataOptions;
  light: Light;
  files: SentFile[];
  output: Output;
  edit: Edit | null;
  typed?: SentFile[];
}

/** The files of an avatar: those of its newest light, and as they are now in this window. */
export class Session {
  /** Names this window to the others. */
  readonly writer: string;
  readonly path: string;
  newest: Light;
  recorded: Files;
  files: Files;
  /** The edit on the server that this window knows, as far as it is one after the newest light. */
  edit: Edit | null;
  options: KataOptions;

  constructor(readonly state: State) {
    const random = crypto.getRandomValues(new Uint8Array(12));
    this.writer = `web-${[...random].map((byte) => byte.toString(16).padStart(2, "0")).join("")}`;
    this.path = `/kata/${state.kata_id}/as/${state.avatar}`;
    this.newest = state.light;
    this.recorded = filesOf(state.files);
    this.files = filesOf(state.typed ?? state.files);
    this.edit = state.edit;
    this.options = state.options;
  }

  /** The options that hold for this avatar. */
  get option(): Options {
    return { ...this.options.kata, ...this.options.avatars[this.state.avatar] };
  }

  get isAsRecorded(): boolean {
    return sameFiles(this.files, this.recorded);
  }

  get typed(): Difference {
    return difference(this.recorded, this.files);
  }

  set(name: string, content: Content): void {
    this.files.set(name, content);
  }

  order(): void {
    this.files = inOrder(this.files, this.state.highlight);
  }

  /** Takes all over from the server: `which` says whether what was typed there is taken too. */
  takeOver(state: State, which: "typed" | "recorded"): void {
    this.newest = state.light;
    this.recorded = filesOf(state.files);
    this.edit = state.edit;
    this.options = state.options;
    this.files = filesOf(which === "typed" ? (state.typed ?? state.files) : state.files);
  }

  /** Goes on from the newest light of the server with the files of this window. */
  keepMine(state: State): void {
    this.newest = state.light;
    this.recorded = filesOf(state.files);
    this.edit = state.edit;
  }

  /** Takes over what a run left, but for what was typed while it ran. */
  merge(light: Light, submitted: Files, left: Files): void {
    const now = this.files;
    const merged = new Map(left);
    for (const [name, content] of now)
      if (!same(content, submitted.get(name))) merged.set(name, content);
    // What was deleted here meanwhile stays so.
    for (const name of submitted.keys()) if (!now.has(name)) merged.delete(name);
    this.newest = light;
    this.recorded = left;
    this.edit = null;
    this.files = merged;
    this.order();
  }

  apply(typed: Difference): void {
    this.files = applied(this.recorded, typed);
    this.order();
  }
}
