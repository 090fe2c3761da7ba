// The strip of three suggestions. The last text asked for supersedes what is still on its way.

import { beforeCursor, field, insertWord, isSensitive, kind } from "./field.js";
import { post, Trouble } from "./service.js";

// The unfinished word before the cursor; the tokenizer's definition of a word, see tokenizer/text.py.
const UNFINISHED = /[\p{L}\p{N}][\p{L}\p{N}\p{M}'\u2019]*$/u;
const ANNOUNCE_AFTER_MS = 900;

const strip = document.getElementById("strip");
const buttons = [...strip.querySelectorAll("button")];
const announcer = document.getElementById("announcer");
const maxChars = Number(document.getElementById("text").dataset.maxChars);

let lastAsked = null; // the text that the strip shows, or will show, suggestions for
let inFlight = new AbortController();
let announceTimer = 0;
let savedKeystrokes = 0;
let onTrouble = () => {};
let onTaken = () => {};

export function listen(handlers) {
  ({ onTrouble, onTaken } = handlers);
}

function context() {
  if (isSensitive()) return "";
  const text = beforeCursor();
  const stride = maxChars / 2;
  // A long text loses its beginning in strides, so that the predictor's carried state stays good in between.
  const first = Math.max(0, Math.floor(text.length / stride) - 1) * stride;
  return text.slice(first).toWellFormed();
}

export async function refresh() {
  const text = context();
  const asked = `${kind()} ${text}`;
  if (asked === lastAsked && !isSensitive()) return; // each keystroke in a sensitive field still says: not idle
  lastAsked = asked;
  inFlight.abort();
  inFlight = new AbortController();
  const { signal } = inFlight;
  strip.setAttribute("aria-busy", "true");
  try {
    show(await post("suggestions", { text, field: kind() }, signal));
    onTrouble("");
  } catch (error) {
    if (error.name === "AbortError") return;
    lastAsked = null; // ask again at the next chance
    show([]);
    onTrouble(error instanceof Trouble ? error.message : String(error));
  }
  if (!signal.aborted) strip.setAttribute("aria-busy", "false");
}

// After a switch that changes what is suggested.
export function askAgain() {
  lastAsked = null;
  return refresh();
}

function show(suggestions) {
  buttons.forEach((button, index) => {
    const suggestion = suggestions[index];
    if (!suggestion && document.activeElement === button) field().focus();
    button.disabled = !suggestion;
    button.querySelector(".word").textContent = suggestion?.word ?? "";
    // By the square root, so that small chances differ visibly too.
    const length = Math.sqrt(suggestion?.probability ?? 0);
    button.querySelector(".likelihood span").style.transform = `scaleX(${length})`;
    button.setAttribute("aria-label", suggestion ? `${suggestion.word}, suggestion ${index + 1}` : `No suggestion ${index + 1}`);
  });
  clearTimeout(announceTimer);
  announceTimer = setTimeout(() => {
    announcer.textContent = suggestions.map((suggestion) => suggestion.word).join(", ");
  }, ANNOUNCE_AFTER_MS);
}

function take(index) {
  const button = buttons[index];
  if (!button || button.disabled) return;
  const word = button.querySelector(".word").textContent;
  const typed = UNFINISHED.exec(beforeCursor())?.[0] ?? "";
  savedKeystrokes += Math.max(0, word.length - typed.length);
  insertWord(word, typed.length);
  onTaken(savedKeystrokes);
}

document.addEventListener("keydown", (event) => {
  if (document.querySelector("dialog:modal")) return;
  const digit = /^(?:Digit|Numpad)([123])$/.exec(event.code)?.[1];
  const inStrip = strip.contains(document.activeElement);
  // In the text a plain digit is a digit; in the strip it takes a word.
  if (digit && !event.ctrlKey && !event.metaKey && (event.altKey || inStrip)) {
    event.preventDefault();
    take(Number(digit) - 1);
  } else if (inStrip && event.key === "Escape") {
    field().focus();
  } else if (inStrip && (event.key === "ArrowRight" || event.key === "ArrowLeft")) {
    event.preventDefault();
    const enabled = buttons.filter((button) => !button.disabled);
    const step = event.key === "ArrowRight" ? 1 : enabled.length - 1;
    enabled[(enabled.indexOf(document.activeElement) + step) % enabled.length].focus();
  }
});

buttons.forEach((button, index) => {
  // The text keeps the focus, and a phone its keys, while a word is tapped.
  button.addEventListener("pointerdown", (event) => event.preventDefault());
  button.addEventListener("click", () => take(index));
});
