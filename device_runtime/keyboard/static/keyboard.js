"use strict";

// Asks the predictor of this machine for suggestions after each change, and puts the one that is taken into the text.

const area = document.getElementById("text");
const strip = document.getElementById("strip");
const buttons = [...strip.querySelectorAll("button")];
const status = document.getElementById("status");
const announcer = document.getElementById("announcer");

// The unfinished word before the cursor; the tokenizer's definition of a word, see tokenizer/text.py.
const UNFINISHED = /[\p{L}\p{N}][\p{L}\p{N}\p{M}'\u2019]*$/u;
const CLOSES_UP = /^[.,?!:;]$/;
const ANNOUNCE_AFTER_MS = 900;

let latestRequest = 0;
let lastAsked = null; // the text that the strip shows, or will show, suggestions for
let announceTimer = 0;
let savedKeystrokes = 0;
let spaceAddedAt = -1; // where the cursor stood after a suggestion's own space

function textBeforeCursor() {
  const cursor = area.selectionStart;
  const stride = Number(area.dataset.maxChars) / 2;
  // A long text loses its beginning in strides, so that the predictor's carried state stays good in between.
  const first = Math.max(0, Math.floor(cursor / stride) - 1) * stride;
  return area.value.slice(first, cursor);
}

async function refresh() {
  const text = textBeforeCursor();
  if (text === lastAsked) return;
  lastAsked = text;
  const request = ++latestRequest;
  strip.setAttribute("aria-busy", "true");
  try {
    const response = await fetch("suggestions", {
      method: "POST",
      headers: { "Content-Type": "application/json" },
      body: JSON.stringify({ text }),
    });
    if (!response.ok) throw new Error(response.statusText);
    const suggestions = await response.json();
    if (request === latestRequest) show(suggestions);
  } catch {
    if (request === latestRequest) showTrouble();
  } finally {
    if (request === latestRequest) strip.setAttribute("aria-busy", "false");
  }
}

function show(suggestions) {
  buttons.forEach((button, index) => {
    const suggestion = suggestions[index];
    const wasFocused = document.activeElement === button;
    button.disabled = !suggestion;
    if (!suggestion && wasFocused) area.focus();
    button.querySelector(".word").textContent = suggestion ? suggestion.word : "";
    // By the square root, so that small chances differ visibly too.
    const length = suggestion ? Math.sqrt(suggestion.probability) : 0;
    button.querySelector(".likelihood span").style.transform = `scaleX(${length})`;
    if (suggestion) button.setAttribute("aria-label", `${suggestion.word}, suggestion ${index + 1}`);
    else button.removeAttribute("aria-label");
  });
  tell();
  clearTimeout(announceTimer);
  announceTimer = setTimeout(() => {
    announcer.textContent = suggestions.map((suggestion) => suggestion.word).join(", ");
  }, ANNOUNCE_AFTER_MS);
}

function tell() {
  status.classList.remove("trouble");
  status.textContent = savedKeystrokes > 0
    ? `${savedKeystrokes} ${savedKeystrokes === 1 ? "keystroke" : "keystrokes"} saved`
    : "Your words stay on this machine.";
}

function showTrouble() {
  lastAsked = null; // ask again at the next chance
  show([]);
  status.classList.add("trouble");
  status.textContent = "The predictor has stopped. Start it again: keychorus device keyboard";
}

function replace(from, to, text) {
  area.focus();
  area.setSelectionRange(from, to);
  // insertText keeps the browser's undo; setRangeText serves where it is gone.
  if (!document.execCommand("insertText", false, text)) {
    area.setRangeText(text, from, to, "end");
    refresh();
  }
}

function take(index) {
  const button = buttons[index];
  if (!button || button.disabled) return;
  const word = button.querySelector(".word").textContent;
  const cursor = area.selectionStart;
  const typed = UNFINISHED.exec(area.value.slice(0, cursor))?.[0] ?? "";
  // Where a space follows already it is used, so that taking a word within a text leaves no double space.
  const spaceFollows = area.value[area.selectionEnd] === " ";
  savedKeystrokes += Math.max(0, word.length + 1 - typed.length - 1);
  replace(cursor - typed.length, area.selectionEnd + (spaceFollows ? 1 : 0), `${word} `);
  spaceAddedAt = area.selectionStart;
}

area.addEventListener("beforeinput", (event) => {
  const cursor = area.selectionStart;
  const closesUp = CLOSES_UP.test(event.data ?? "") && spaceAddedAt === cursor && area.selectionEnd === cursor;
  spaceAddedAt = -1;
  if (!closesUp) return;
  event.preventDefault();
  replace(cursor - 1, cursor, `${event.data} `);
});

area.addEventListener("input", refresh);
// Moves of the cursor without a change of the text.
document.addEventListener("selectionchange", () => {
  if (document.activeElement === area) refresh();
});

document.addEventListener("keydown", (event) => {
  const digit = /^(?:Digit|Numpad)([123])$/.exec(event.code)?.[1];
  const inStrip = strip.contains(document.activeElement);
  // In the text a plain digit is a digit; in the strip it takes a word.
  if (digit && !event.ctrlKey && !event.metaKey && (event.altKey || inStrip)) {
    event.preventDefault();
    take(Number(digit) - 1);
  } else if (inStrip && event.key === "Escape") {
    area.focus();
  } else if (inStrip && (event.key === "ArrowRight" || event.key === "ArrowLeft")) {
    event.preventDefault();
    const step = event.key === "ArrowRight" ? 1 : buttons.length - 1;
    buttons[(buttons.indexOf(document.activeElement) + step) % buttons.length].focus();
  }
});

buttons.forEach((button, index) => {
  // The text keeps the focus, and a phone its keys, while a word is tapped.
  button.addEventListener("pointerdown", (event) => event.preventDefault());
  button.addEventListener("click", () => take(index));
});

document.getElementById("copy").addEventListener("click", async () => {
  await navigator.clipboard.writeText(area.value);
  status.textContent = "Copied.";
});

document.getElementById("clear").addEventListener("click", () => {
  replace(0, area.value.length, "");
  refresh();
});

refresh();
