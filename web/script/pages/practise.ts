// The editor of an avatar: puts its parts together, and says what is happening.
import { listen } from "../shared/events.ts";
import { type Colour, drawLight, type Light, wordOf } from "../shared/lights.ts";
import { announce, element, get, make, pageData, pause, Refused, send, type Trouble } from "../shared/page.ts";
import { Dialogs } from "../practise/dialogs.ts";
import { type Draft, Drafts } from "../practise/drafts.ts";
import { Editor } from "../practise/editor.ts";
import { applied, type Files, filesOf, sameFiles, sentOf, type SentFile } from "../practise/files.ts";
import { LightsRow, nameOf, timeOf } from "../practise/lights_row.ts";
import { notice, settle } from "../practise/notices.ts";
import { OutputPane } from "../practise/output.ts";
import { press, type Recorded } from "../practise/press.ts";
import { Saving } from "../practise/saving.ts";
import { Session, type State } from "../practise/session.ts";
import { Tabs } from "../practise/tabs.ts";

const FIRST_RETRY_MILLISECONDS = 500;
const MOST_RETRY_MILLISECONDS = 5_000;

const data = pageData<{ state: State; is_new: boolean }>();
const session = new Session(data.state);
const drafts = new Drafts(data.state.kata_id, data.state.avatar, session.writer, () =>
  notice("window", "This editor was opened in another window of this browser too. Both can go on; each learns what the other does."),
);
const output = new OutputPane();
const saving = new Saving(session, drafts, () => void meetNewer());
let abort: AbortController | undefined;
let knowsAllLights = false;
const ignored = new Set<string>(); // windows whose typing somebody does not want here

const editor = new Editor({
  parent: element("editor"),
  nonce: document.querySelector<HTMLMetaElement>("meta[name=style-nonce]")!.content,
  tabSize: session.state.tab_size,
  isSyntaxColoured: session.option.syntax_colour ?? true,
  onChange: (name, text) => {
    session.set(name, { text });
    saving.changed();
  },
  onTest: () => void test(),
});
const tabs = new Tabs(
  open,
  (name) => {
    session.set(name, { text: "" });
    changedNames(name);
    editor.focus();
  },
  (from, to) => {
    session.set(to, session.files.get(from)!);
    session.files.delete(from);
    editor.remove(from);
    changedNames(to);
  },
  (name) => {
    session.files.delete(name);
    editor.remove(name);
    changedNames();
  },
);
const row = new LightsRow(session.path, (light) => void dialogs.light(light));
const dialogs = new Dialogs(session, () => row, checkOut, showOptions);

start();

function start(): void {
  showOptions();
  row.add([session.newest]);
  showFiles();
  saving.settled();
  output.show(session.state.output, session.newest.number ? `of light ${session.newest.number}` : "");
  if (session.newest.number === 0) output.show({ stdout: "", stderr: "", truncated: false }, "");
  element("test").addEventListener("click", () => void test());
  element("cancel").addEventListener("click", () => abort?.abort());
  addEventListener("keydown", (event) => {
    const isOpen = document.querySelector("dialog[open]");
    if (event.key !== "Enter" || !(event.ctrlKey || event.metaKey) || isOpen) return;
    event.preventDefault();
    void test();
  });
  if (navigator.platform.startsWith("Mac"))
    document.querySelector("#test .hint")!.textContent = "⌘ Enter";
  if (data.is_new) {
    history.replaceState(null, "", session.path);
    notice("new", `You are ${session.state.avatar}. To go on at another machine later, keep your personal link: it is under My link.`);
  }
  void restore();
  listen(`${session.path}/events`, {
    lights: (lights) => void happened(lights),
    caughtUp: () => (knowsAllLights = true),
    edit: (edit) => {
      const known = session.edit;
      const isKnown = known && known.light_number === edit.light_number && known.number >= edit.number;
      if (edit.light_number !== session.newest.number || edit.writer === session.writer || isKnown) return;
      if (!ignored.has(edit.writer)) otherTyped(edit.writer, edit.time);
    },
    options: (options) => {
      session.options = options as typeof session.options;
      showOptions();
    },
    storer: ({ title }) => connection("storer", title ? `The storer does not answer: ${title}.` : ""),
    connected: (is) => connection("network", is ? "" : "The server can't be reached."),
    gone: ({ title, text }) => notice("gone", `${title}. ${text} What you typed stays in this window.`),
  });
}

/** Brings back what was typed in a window of this browser that is closed. */
async function restore(): Promise<void> {
  const { drafts: left, others } = await drafts.left();
  if (others)
    notice("window", "This editor is open in another window of this browser too. Both can go on; each learns what the other does.");
  const [draft] = left;
  if (!draft) return;
  for (const older of left.slice(1)) drafts.forget(older.writer);
  const { edit } = session;
  const then = applied(session.recorded, draft);
  if (sameFiles(then, session.files)) {
    drafts.forget(draft.writer);
    return;
  }
  const isNewest = !edit || edit.writer === draft.writer || edit.time <= draft.time;
  if (draft.base === session.newest.number && isNewest && saving.isOnServer) {
    takeDraft(draft);
    announce("What you typed before is here again");
    return;
  }
  const from = draft.base === 0 ? "the start" : `light ${draft.base}`;
  notice("draft", `This browser has kept other text, typed on ${from} at ${timeOf(draft.time)}.`, [
    { text: "Show it here", choose: () => takeDraft(draft) },
    { text: "Forget it", choose: () => drafts.forget(draft.writer) },
  ]);
}

function takeDraft(draft: Draft): void {
  session.apply(draft);
  showFiles();
  saving.changed();
  drafts.forget(draft.writer);
}

/** Shows the session's files, in tabs and in the editor. */
function showFiles(): void {
  for (const [name, { text }] of session.files) if (text !== undefined) editor.set(name, text);
  const shown = [...session.files].filter(([, { hidden }]) => !hidden);
  tabs.set(shown.map(([name]) => name));
}

function changedNames(name?: string): void {
  session.order();
  if (name) tabs.open = name;
  showFiles();
  saving.changed();
}

function open(name: string): void {
  const content = session.files.get(name);
  const pane = element("editor");
  pane.querySelector(".binary")?.remove();
  const isText = content?.text !== undefined;
  pane.classList.toggle("is-binary", !isText);
  if (isText) editor.show(name, content.text!);
  else if (content) {
    const bytes = Math.floor(((content.base64?.length ?? 0) * 3) / 4);
    pane.append(make("p", { className: "binary", text: `${name} is no text (${bytes} bytes). It goes along with each test as it is.` }));
  }
}

function showOptions(): void {
  const { theme, predict, syntax_colour: isColoured } = session.option;
  if (theme) document.documentElement.dataset.theme = theme;
  else delete document.documentElement.dataset.theme;
  element("prediction").hidden = !predict;
  editor.setSyntaxColoured(isColoured ?? true);
}

/** Runs the tests and shows the light. What fails for a while is tried again. */
async function test(): Promise<void> {
  if (abort) return;
  const predicted = predictionOf();
  if (predicted === undefined) return;
  const submitted = new Map(session.files);
  const body = {
    files: sentOf(submitted),
    expected_number: session.newest.number + 1,
    predicted,
    writer: session.writer,
  };
  let wait = FIRST_RETRY_MILLISECONDS;
  abort = new AbortController();
  working(true);
  try {
    for (;;) {
      try {
        done(await press(`${session.path}/test`, body, progress, abort.signal), submitted);
        return;
      } catch (error) {
        if (!(error instanceof Refused)) throw error;
        const { trouble } = error;
        if (await wasRecorded(body.expected_number, trouble, submitted)) return;
        if (trouble.kind === "stale") return void (await meetNewer());
        say(`${trouble.title}. ${trouble.text}`, "trouble");
        if (!trouble.goes_on) return;
        element("cancel").hidden = false;
        await pause(trouble.retry_after ? trouble.retry_after * 1000 : wait);
        wait = Math.min(wait * 2, MOST_RETRY_MILLISECONDS);
        if (abort.signal.aborted) return say("Stopped. Press test when you like.", "");
      }
    }
  } catch (error) {
    if (!abort.signal.aborted) throw error;
    say("Stopped. Press test when you like.", "");
  } finally {
    abort = undefined;
    working(false);
  }
}

/** Takes over a light of this window whose answer was lost; says whether there is one. */
async function wasRecorded(number: number, trouble: Trouble, submitted: Files): Promise<boolean> {
  if (!trouble.goes_on && trouble.kind !== "stale") return false;
  let state: State;
  try {
    state = await get<State>(`${session.path}/state`);
  } catch {
    return false;
  }
  if (state.light.number !== number || state.light.writer !== session.writer) return false;
  session.merge(state.light, submitted, filesOf(state.files));
  shown(state.light);
  output.show(state.output, `of light ${state.light.number}`);
  return true;
}

/** Shows what a run came to. */
function done({ light, output: wrote, changed, deleted }: Recorded, submitted: Files): void {
  const left = applied(submitted, { changed, deleted });
  session.merge(light, submitted, left);
  output.show(wrote, `of light ${light.number}`);
  shown(light);
  void goBackIfWrong(light);
}

function shown(light: Light): void {
  row.add([light]);
  showFiles();
  if (session.isAsRecorded) saving.settled();
  else saving.changed();
  for (const kind of ["newer", "typed"]) settle(kind);
  const isRight = light.predicted === light.colour;
  const predicted = light.predicted ? (isRight ? " As predicted." : ` Predicted ${wordOf(light.predicted)}.`) : "";
  say(`${nameOf(light)}.${predicted}${light.reason ? ` ${light.reason}` : ""}`, "done", light.colour);
  element<HTMLInputElement>("prediction").querySelectorAll("input").forEach((input) => (input.checked = false));
}

/** Goes back to the light before after a wrong prediction, if the options say so. */
async function goBackIfWrong(light: Light): Promise<void> {
  const { option } = session;
  const isSet = option[`revert_${light.colour}` as "revert_red"];
  if (!option.predict || !light.predicted || light.predicted === light.colour || !isSet) return;
  await checkOut(session.state.avatar, light.number - 1);
}

/** Makes a light of the files of another one. */
async function checkOut(avatar: string, number: number): Promise<void> {
  if (avatar === session.state.avatar && number === session.newest.number) {
    session.files = new Map(session.recorded);
    showFiles();
    saving.changed();
    return;
  }
  saving.hold("check-out");
  try {
    const response = await send(`${session.path}/check-out`, {
      source_avatar: avatar,
      source_number: number,
      expected_number: session.newest.number + 1,
      writer: session.writer,
    });
    const state = (await response.json()) as State & { start?: SentFile[] };
    if (state.start) {
      session.files = filesOf(state.start);
      session.order();
      showFiles();
      saving.changed();
      return say("The files of the start are here. Press test to record them.", "");
    }
    session.takeOver(state, "recorded");
    output.show(state.output, `of light ${state.light.number}`);
    shown(state.light);
  } catch (error) {
    if (!(error instanceof Refused)) throw error;
    if (error.trouble.kind === "stale") await meetNewer();
    else notice("check-out", `Not done: ${error.trouble.title}. ${error.trouble.text}`);
  } finally {
    saving.release("check-out");
  }
}

/** Shows lights that happened, here or in another window. */
async function happened(lights: Light[]): Promise<void> {
  row.add(lights);
  const newest = lights.at(-1);
  if (!newest || newest.number <= session.newest.number || newest.writer === session.writer) return;
  await meetNewer();
}

/** Another window recorded a light: somebody decides what to go on with. */
async function meetNewer(): Promise<void> {
  saving.hold("decide");
  let state: State;
  try {
    state = await get<State>(`${session.path}/state`);
  } catch {
    saving.release("decide"); // it is met again, by the next edit or test
    return;
  }
  // One of this window is taken over by whoever waits for it.
  const isOwn = state.light.writer === session.writer;
  if (isOwn || state.light.number <= session.newest.number) return saving.release("decide");
  const decided = (): void => {
    settle("typed");
    showFiles();
    saving.release("decide");
  };
  notice("newer", `Another window of ${session.state.avatar} recorded light ${state.light.number}, ${wordOf(state.light.colour)}, at ${timeOf(state.light.time)}. Your files here are those from before it.`, [
    {
      text: `Show light ${state.light.number} here`,
      choose: () => {
        session.takeOver(state, "typed");
        output.show(state.output, `of light ${state.light.number}`);
        decided();
        saving.settled();
      },
    },
    {
      text: "Keep mine, and test after it",
      choose: () => {
        session.keepMine(state);
        decided();
        saving.changed();
      },
    },
  ]);
}

/** Another window typed something: somebody decides what to go on with. */
function otherTyped(writer: string, time: number): void {
  notice("typed", `Another window of ${session.state.avatar} typed something, at ${timeOf(time)}.`, [
    {
      text: "Show it here",
      choose: async () => {
        const state = await get<State>(`${session.path}/state`);
        session.takeOver(state, "typed");
        showFiles();
        saving.settled();
      },
    },
    { text: "Keep mine", choose: () => void ignored.add(writer) },
  ]);
}

/** Returns the colour that is expected, "" without predictions; undefined if one has to be chosen. */
function predictionOf(): Colour | "" | undefined {
  if (!session.option.predict) return "";
  const chosen = document.querySelector<HTMLInputElement>("input[name=prediction]:checked");
  if (chosen) return chosen.value as Colour;
  say("Choose the light that you expect, then press test.", "trouble");
  document.querySelector<HTMLInputElement>("input[name=prediction]")?.focus();
  return undefined;
}

const progress = {
  waiting: (ahead: number) =>
    say(ahead === 0 ? "Waiting: you are next." : `Waiting: ${ahead} before you.`, "running"),
  started: () => {
    output.begin();
    say("Running the tests.", "running");
  },
  wrote: (stream: "stdout" | "stderr", text: string) => output.add(stream, text),
  ran: (colour: Colour) => say(`It came to ${wordOf(colour)}. Recording the light.`, "running"),
  silent: () => say("The runner does not answer yet. It goes on by itself as soon as it does.", "trouble"),
};

function working(is: boolean): void {
  const button = element<HTMLButtonElement>("test");
  button.setAttribute("aria-disabled", String(is));
  element("cancel").hidden = true;
  if (is) say("Sending the files.", "running");
}

/** Says what becomes of the test; a light is drawn before the words. */
function say(text: string, kind: string, colour?: Colour): void {
  const state = element("run-state");
  state.dataset.kind = kind;
  state.replaceChildren(...(colour ? [drawLight(colour, ""), " "] : []), text);
}

const away = new Map<string, string>();

/** Says that something can't be reached, while it can't. */
function connection(what: string, text: string): void {
  if (text) away.set(what, text);
  else away.delete(what);
  const box = element("connection");
  const words = [...away.values()].join(" ");
  box.hidden = words === "";
  const full = words && `${words} You can go on typing: it is kept in this browser. All goes on by itself as soon as there is an answer.`;
  if (box.textContent !== full) box.textContent = full;
  if (!words && knowsAllLights) settle("connection");
}
