// Light, dark, or as the system says; kept for the next visit.

const NAMES = ["system", "light", "dark"];

export function theme(button, changed) {
  let name = localStorage.getItem("theme") ?? "system";
  const apply = () => {
    if (name === "system") delete document.documentElement.dataset.theme;
    else document.documentElement.dataset.theme = name;
    button.textContent = `Theme: ${name}`;
    changed();
  };
  button.onclick = () => {
    name = NAMES[(NAMES.indexOf(name) + 1) % NAMES.length];
    localStorage.setItem("theme", name);
    apply();
  };
  apply();
}
