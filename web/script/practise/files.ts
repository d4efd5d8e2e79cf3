// The files of an editor: text, or what is no text and is sent back as it came.

/** A file as the web tier tells it. */
export interface SentFile {
  name: string;
  text?: string;
  base64?: string;
  /** A run makes it, and nobody wants to see it. */
  hidden?: boolean;
}

/** The content of a file: its text, or base64 of what is no text. */
export interface Content {
  text?: string;
  base64?: string;
  hidden?: boolean;
}

export type Files = Map<string, Content>;

export const same = (one: Content | undefined, other: Content | undefined): boolean =>
  one?.text === other?.text && one?.base64 === other?.base64;

export const filesOf = (sent: SentFile[]): Files =>
  new Map(sent.map(({ name, ...content }) => [name, content]));

export const sentOf = (files: Files): SentFile[] =>
  [...files].map(([name, content]) => ({ name, ...content }));

export const sameFiles = (one: Files, other: Files): boolean =>
  one.size === other.size && [...one].every(([name, content]) => same(content, other.get(name)));

/** Returns files in the order of the tabs: those to highlight, then the others by name. */
export function inOrder(files: Files, highlight: string[]): Files {
  const first = highlight.filter((name) => files.has(name));
  const others = [...files.keys()].filter((name) => !first.includes(name));
  others.sort((one, other) => (one.toLowerCase() < other.toLowerCase() ? -1 : 1));
  return new Map([...first, ...others].map((name) => [name, files.get(name)!]));
}

/** Returns why a file can't have a name; nothing if it can. */
export function problemOf(name: string, taken: Iterable<string>): string {
  if (name === "") return "Type a name.";
  if (new TextEncoder().encode(name).length > 255) return "The name is too long.";
  // eslint-disable-next-line no-control-regex
  if (/[\u0000-\u001f\u007f]/.test(name)) return "The name has a control character.";
  if (name.startsWith("/") || name.endsWith("/")) return "The name begins or ends with a slash.";
  const parts = name.split("/");
  if (parts.some((part) => part === "" || part === "." || part === ".."))
    return "The name has an empty folder, or one of dots.";
  for (const other of taken) {
    if (other === name) return "There is a file of this name.";
    if (other.startsWith(`${name}/`) || name.startsWith(`${other}/`))
      return `There is ${other}: a name can't be both a file and a folder.`;
  }
  return "";
}

/** What differs from other files: what to change in those, and what to delete. */
export interface Difference {
  changed: SentFile[];
  deleted: string[];
}

export const difference = (from: Files, to: Files): Difference => ({
  changed: sentOf(new Map([...to].filter(([name, content]) => !same(content, from.get(name))))),
  deleted: [...from.keys()].filter((name) => !to.has(name)),
});

export function applied(files: Files, { changed, deleted }: Difference): Files {
  const found = new Map([...files, ...filesOf(changed)]);
  for (const name of deleted) found.delete(name);
  return found;
}
