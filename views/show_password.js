// Adds a button to each password field that shows what was typed; data-show and data-hide have its words. Without this script, the page has no such button.
for (const input of document.querySelectorAll('input[type=password][data-show]')) {
  const button = document.createElement('button');
  button.type = 'button';
  button.className = 'quiet small show';
  button.setAttribute('aria-controls', input.id);
  const show = (isShown) => {
    input.type = isShown ? 'text' : 'password';
    button.textContent = isShown ? input.dataset.hide : input.dataset.show;
  };
  show(false);
  button.addEventListener('click', () => show(input.type === 'password'));
  // a browser may keep the text of other fields
  input.form.addEventListener('submit', () => show(false));
  input.autocapitalize = 'none';
  input.spellcheck = false;
  input.after(button);
}
