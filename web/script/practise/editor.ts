// The editor: CodeMirror, with a state for each text file, so that each has its own undo.
import { autocompletion, closeBrackets, closeBracketsKeymap } from "@codemirror/autocomplete";
import { defaultKeymap, history, historyKeymap, indentWithTab } from "@codemirror/commands";
import {
  bracketMatching,
  HighlightStyle,
  indentOnInput,
  indentUnit,
  syntaxHighlighting,
} from "@codemirror/language";
import { highlightSelectionMatches, searchKeymap } from "@codemirror/search";
import { Compartment, EditorState, type Extension, Prec } from "@codemirror/state";
import {
  drawSelection,
  EditorView,
  highlightActiveLine,
  highlightActiveLineGutter,
  keymap,
  lineNumbers,
} from "@codemirror/view";
import { tags } from "@lezer/highlight";
import { languageOf } from "./languages.ts";

// Classes, whose colours are in practise.css, in light and dark.
const highlighting = HighlightStyle.define([
  { tag: [tags.keyword, tags.operatorKeyword, tags.modifier, tags.controlKeyword], class: "hl-keyword" },
  { tag: [tags.string, tags.special(tags.string), tags.regexp, tags.character], class: "hl-string" },
  { tag: [tags.comment, tags.meta], class: "hl-comment" },
  { tag: [tags.number, tags.bool, tags.null, tags.atom], class: "hl-number" },
  { tag: [tags.typeName, tags.className, tags.namespace, tags.tagName], class: "hl-type" },
  {
    tag: [tags.function(tags.variableName), tags.function(tags.propertyName), tags.definition(tags.variableName)],
    class: "hl-name",
  },
  { tag: [tags.heading, tags.strong], class: "hl-strong" },
]);

export interface EditorOptions {
  parent: HTMLElement;
  nonce: string;
  tabSize: number;
  isSyntaxColoured: boolean;
  /** Somebody typed in the file that is open. */
  onChange: (name: string, text: string) => void;
  onTest: () => void;
}

export class Editor {
  private readonly states = new Map<string, EditorState>();
  private readonly syntax = new Compartment();
  private readonly language = new Compartment();
  private readonly view: EditorView;
  private open = "";
  private isSetting = false;
  private isSyntaxColoured: boolean;

  constructor(private readonly options: EditorOptions) {
    this.isSyntaxColoured = options.isSyntaxColoured;
    this.view = new EditorView({
      parent: options.parent,
      state: this.newState("", ""),
    });
  }

  /** Shows a file. */
  show(name: string, text: string): void {
    if (this.open) this.states.set(this.open, this.view.state);
    this.open = name;
    let state = this.states.get(name);
    if (!state || textOf(state) !== text) state = this.newState(name, text);
    this.setState(state);
    void this.load(name);
  }

  /** Takes over a file's text that was not typed here; where the text stays, so does the cursor. */
  set(name: string, text: string): void {
    const isOpen = name === this.open;
    const state = isOpen ? this.view.state : this.states.get(name);
    if (!state) return;
    const now = textOf(state);
    if (now === text) return;
    if (separatorOf(now) !== separatorOf(text)) {
      this.states.delete(name);
      if (isOpen) {
        this.setState(this.newState(name, text));
        void this.load(name);
      }
      return;
    }
    const separator = separatorOf(text);
    const was = state.doc.toString();
    const will = separator === "\n" ? text : text.replaceAll(separator, "\n");
    let from = 0;
    while (from < was.length && from < will.length && was[from] === will[from]) from++;
    let end = 0;
    const most = Math.min(was.length, will.length) - from;
    while (end < most && was[was.length - 1 - end] === will[will.length - 1 - end]) end++;
    const insert = state.toText(
      separator === "\n" ? will.slice(from, will.length - end) : will.slice(from, will.length - end).replaceAll("\n", separator),
    );
    const changes = { from, to: was.length - end, insert };
    if (isOpen) {
      this.isSetting = true;
      this.view.dispatch({ changes });
      this.isSetting = false;
    } else this.states.set(name, state.update({ changes }).state);
  }

  remove(name: string): void {
    this.states.delete(name);
    if (name === this.open) this.open = "";
  }

  focus(): void {
    this.view.focus();
  }

  setSyntaxColoured(is: boolean): void {
    this.isSyntaxColoured = is;
    const effects = this.syntax.reconfigure(this.syntaxExtension());
    this.view.dispatch({ effects });
    for (const [name, state] of this.states) this.states.set(name, state.update({ effects }).state);
  }

  private setState(state: EditorState): void {
    this.isSetting = true;
    this.view.setState(state);
    this.isSetting = false;
  }

  private syntaxExtension(): Extension {
    return this.isSyntaxColoured ? syntaxHighlighting(highlighting) : [];
  }

  private async load(name: string): Promise<void> {
    const language = await languageOf(name).catch(() => []); // it is shown without colours then
    if (this.open === name) this.view.dispatch({ effects: this.language.reconfigure(language) });
  }

  private newState(name: string, text: string): EditorState {
    const { tabSize, nonce, onChange, onTest } = this.options;
    const usesTabs = /^\t/m.test(text) || /(^|\/)makefile$/i.test(name);
    const label = name ? `${name}. Escape, then Tab leaves the editor.` : "No file is open";
    const test = {
      key: "Mod-Enter",
      run: () => {
        onTest();
        return true;
      },
    };
    return EditorState.create({
      doc: text,
      extensions: [
        Prec.highest(keymap.of([test])),
        EditorView.cspNonce.of(nonce),
        EditorState.lineSeparator.of(separatorOf(text)),
        EditorState.tabSize.of(tabSize),
        indentUnit.of(usesTabs ? "\t" : " ".repeat(tabSize)),
        EditorView.contentAttributes.of({ "aria-label": label, spellcheck: "false" }),
        lineNumbers(),
        highlightActiveLine(),
        highlightActiveLineGutter(),
        history(),
        drawSelection(),
        indentOnInput(),
        bracketMatching(),
        closeBrackets(),
        autocompletion({ activateOnTyping: false }),
        highlightSelectionMatches(),
        keymap.of([
          ...closeBracketsKeymap,
          ...defaultKeymap,
          ...searchKeymap,
          ...historyKeymap,
          indentWithTab,
        ]),
        this.syntax.of(this.syntaxExtension()),
        this.language.of([]),
        EditorView.updateListener.of((update) => {
          if (update.docChanged && !this.isSetting) onChange(this.open, textOf(update.state));
        }),
      ],
    });
  }
}

/** What ends the lines of a text. Where it is not the same everywhere, a CR is a character. */
const separatorOf = (text: string): string =>
  text.includes("\r\n") && !/(^|[^\r])\n|\r(?!\n)/.test(text) ? "\r\n" : "\n";

const textOf = (state: EditorState): string => state.sliceDoc();
