// What scripts of all pages use: the page's data, calls of the web tier, announcements.

/** What went wrong, as the web tier says it. */
export interface Trouble {
  kind: string;
  title: string;
  text: string;
  goes_on: boolean;
  retry_after: number | null;
}

/** A call that did not do what it should have. */
export class Refused extends Error {
  constructor(readonly trouble: Trouble) {
    super(trouble.title);
  }
}

export const NO_NETWORK: Trouble = {
  kind: "no_network",
  title: "The server can't be reached",
  text: "Is the network there? Nothing is lost. This goes on by itself as soon as it answers.",
  goes_on: true,
  retry_after: null,
};

/** Returns an element of the page, which has to be there. */
export function element<E extends HTMLElement = HTMLElement>(id: string): E {
  const found = document.getElementById(id);
  if (!found) throw new Error(`the page has no element ${id}`);
  return found as E;
}

/** Returns the JSON that the page came with, in <script type="application/json" id="data">. */
export function pageData<T>(): T {
  return JSON.parse(element("data").textContent ?? "null") as T;
}

/** Makes an element with a class, text and children. Text is text, whatever is in it. */
export function make<K extends keyof HTMLElementTagNameMap>(
  tag: K,
  { className = "", text = "" }: { className?: string; text?: string } = {},
  ...children: Node[]
): HTMLElementTagNameMap[K] {
  const made = document.createElement(tag);
  if (className) made.className = className;
  if (text) made.textContent = text;
  made.append(...children);
  return made;
}

/** Sends JSON to the web tier, and returns the response; throws Refused. */
export async function send(path: string, body: unknown, signal?: AbortSignal): Promise<Response> {
  const token = document.querySelector<HTMLMetaElement>("meta[name=form-token]")?.content ?? "";
  return checked(() =>
    fetch(path, {
      method: "POST",
      headers: {
        Accept: "application/json",
        "Content-Type": "application/json",
        "X-Form-Token": token,
      },
      body: JSON.stringify(body),
      signal: signal ?? null,
    }),
  );
}

/** Gets JSON from the web tier; throws Refused. */
export async function get<T>(path: string): Promise<T> {
  const response = await checked(() => fetch(path, { headers: { Accept: "application/json" } }));
  return (await response.json()) as T;
}

async function checked(call: () => Promise<Response>): Promise<Response> {
  let response: Response;
  try {
    response = await call();
  } catch (error) {
    if (error instanceof DOMException && error.name === "AbortError") throw error;
    throw new Refused(NO_NETWORK);
  }
  if (response.ok) return response;
  let trouble = NO_NETWORK; // a proxy's own page, say
  try {
    trouble = ((await response.json()) as { trouble: Trouble }).trouble ?? NO_NETWORK;
  } catch {
    // It is no JSON, so not from the web tier.
  }
  throw new Refused(trouble);
}

/** Has screen readers say something. */
export function announce(text: string): void {
  const region = element("announcements");
  region.textContent = "";
  requestAnimationFrame(() => {
    region.textContent = text;
  });
}

/** Waits. */
export const pause = (milliseconds: number): Promise<void> =>
  new Promise((resolve) => setTimeout(resolve, milliseconds));
