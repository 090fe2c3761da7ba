// On-screen keys, for screens that are touched. A key acts when it is pressed, as keys do.

import { beforeCursor, erase, field, isSensitive, type } from "./field.js";

const LAYERS = {
  letters: ["qwertyuiop", "asdfghjkl", ["shift", ..."zxcvbnm", "backspace"], ["layer", ",", "'", "space", ".", "?", "send"]],
  numbers: ["1234567890", "@#£&-+()/", ["*", ..."\"':;!=%", "backspace"], ["layer", ",", "_", "space", ".", "?", "send"]],
};
const NAMES = { shift: "Shift", backspace: "Backspace", space: "Space", send: "Send" };
const FACES = { shift: "⇧", backspace: "⌫", space: "", send: "Send" };
const PUNCTUATION = { ",": "Comma", ".": "Full stop", "?": "Question mark", "'": "Apostrophe", "!": "Exclamation mark" };
const REPEAT_AFTER_MS = 420;
const REPEAT_EVERY_MS = 55;
const DOUBLE_TAP_MS = 350;
const BEGINS_SENTENCE = /(?:^|[.?!\n]\s+|\n)$/;

const board = document.getElementById("keys");
const toggle = document.getElementById("keys-toggle");

let layer = "letters";
let shift = "off"; // off, once or lock
let shiftedAt = -Infinity;
let repeating = 0;
let onSend = () => {};

export function start(send) {
  onSend = send;
  build();
  setShown(matchMedia("(pointer: coarse)").matches);
  toggle.addEventListener("click", () => setShown(board.hidden));
}

// Where these keys are shown a phone's own stay away.
function setShown(shown) {
  board.hidden = !shown;
  toggle.setAttribute("aria-pressed", String(shown));
  for (const each of document.querySelectorAll(".field")) {
    if (shown) each.inputMode = "none";
    else each.inputMode = each.id === "code" ? "numeric" : "";
  }
  document.documentElement.classList.toggle("with-keys", shown);
  updateShift();
}

// A sentence begins with a capital, as a phone's own keys would have it.
export function updateShift() {
  if (board.hidden || shift === "lock") return;
  setShift(!isSensitive() && BEGINS_SENTENCE.test(beforeCursor()) ? "once" : "off");
}

function setShift(state) {
  shift = state;
  board.classList.toggle("shifted", shift !== "off");
  board.classList.toggle("locked", shift === "lock");
  const key = board.querySelector('[data-key="shift"]');
  key?.setAttribute("aria-pressed", String(shift !== "off"));
  key?.setAttribute("aria-label", shift === "lock" ? "Capitals locked" : "Shift");
}

function build() {
  board.replaceChildren(...LAYERS[layer].map((names) => {
    const row = document.createElement("div");
    row.className = "row";
    row.append(...[...names].map(key));
    return row;
  }));
  board.querySelector("button").tabIndex = 0; // one stop of Tab; arrows go on from there
  setShift(shift);
}

function key(name) {
  const button = document.createElement("button");
  button.type = "button";
  button.tabIndex = -1;
  button.dataset.key = name;
  button.className = name.length > 1 ? `key ${name}` : /[a-z]/.test(name) ? "key letter" : "key";
  button.textContent = name === "layer" ? (layer === "letters" ? "123" : "abc") : FACES[name] ?? name;
  const label = name === "layer" ? (layer === "letters" ? "Numbers and signs" : "Letters") : NAMES[name] ?? PUNCTUATION[name];
  if (label) button.setAttribute("aria-label", label);
  return button;
}

function press(name) {
  if (name !== "shift") shiftedAt = -Infinity;
  if (name === "shift") pressShift();
  else if (name === "backspace") erase();
  else if (name === "layer") {
    layer = layer === "letters" ? "numbers" : "letters";
    build();
  } else if (name === "space") type(" ");
  else if (name === "send") onSend();
  else type(shift === "off" ? name : name.toUpperCase());
}

function pressShift() {
  const now = performance.now();
  const isDouble = now - shiftedAt < DOUBLE_TAP_MS && shift !== "lock";
  shiftedAt = now;
  setShift(isDouble ? "lock" : shift === "off" ? "once" : "off");
}

function release() {
  clearTimeout(repeating);
  for (const each of board.querySelectorAll(".pressed")) each.classList.remove("pressed");
}

function repeat() {
  erase();
  repeating = setTimeout(repeat, REPEAT_EVERY_MS);
}

board.addEventListener("pointerdown", (event) => {
  event.preventDefault(); // the text keeps the focus
  const button = event.target.closest("button");
  if (!button || event.button !== 0) return;
  release();
  button.classList.add("pressed");
  if (document.activeElement !== field()) field().focus();
  press(button.dataset.key);
  if (button.dataset.key === "backspace") repeating = setTimeout(repeat, REPEAT_AFTER_MS);
});
for (const ended of ["pointerup", "pointercancel", "pointerleave"]) board.addEventListener(ended, release);
board.addEventListener("contextmenu", (event) => event.preventDefault());

// A screen reader's activation comes as a click without a pointer (detail 0), and a keyboard's, too.
board.addEventListener("click", (event) => {
  const button = event.target.closest("button");
  if (!button || event.detail !== 0) return;
  press(button.dataset.key);
  board.querySelector(`[data-key="${CSS.escape(button.dataset.key)}"]`)?.focus();
});

board.addEventListener("keydown", (event) => {
  const step = { ArrowRight: 1, ArrowLeft: -1 }[event.key];
  if (event.key === "Escape") field().focus();
  if (!step) return;
  event.preventDefault();
  const all = [...board.querySelectorAll("button")];
  const next = all[(all.indexOf(document.activeElement) + step + all.length) % all.length];
  for (const each of all) each.tabIndex = each === next ? 0 : -1;
  next.focus();
});
