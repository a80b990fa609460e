// Shows the neuron that is pressed, or pointed at. What belongs to neuron j carries data-j.
(() => {
  document.documentElement.classList.add("script");
  const parts = [...document.querySelectorAll("[data-j]")];
  const buttons = parts.filter((part) => part.matches("button"));
  let pressed = buttons.find((button) => button.ariaPressed === "true").dataset.j;

  const show = (j) => {
    for (const part of parts) {
      const on = part.dataset.j === j;
      if (part.matches(".panel")) part.hidden = !on;
      else part.classList.toggle("on", on);
    }
  };
  const press = (j) => {
    pressed = j;
    for (const button of buttons) button.setAttribute("aria-pressed", String(button.dataset.j === j));
    show(j);
  };
  for (const part of parts) {
    if (part.matches(".panel")) continue;
    const j = part.dataset.j;
    part.addEventListener("click", () => press(j));
    part.addEventListener("pointerenter", (event) => {
      if (event.pointerType === "mouse") show(j);
    });
    part.addEventListener("pointerleave", () => show(pressed));
    part.addEventListener("focus", () => show(j));
    part.addEventListener("blur", () => show(pressed));
  }
  show(pressed);
})();
