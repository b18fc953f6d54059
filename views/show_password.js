// Adds a button to each password field that shows what was typed. Without this script, the page has no such button.
for (const input of document.querySelectorAll('input[type=password]')) {
  const button = document.createElement('button');
  button.type = 'button';
  button.className = 'quiet show';
  button.setAttribute('aria-controls', input.id);
  const show = (isShown) => {
    input.type = isShown ? 'text' : 'password';
    button.textContent = isShown ? 'Hide password' : 'Show password';
  };
  show(false);
  button.addEventListener('click', () => show(input.type === 'password'));
  // a browser may keep the text of other fields
  input.form.addEventListener('submit', () => show(false));
  input.autocapitalize = 'none';
  input.spellcheck = false;
  input.after(button);
}
