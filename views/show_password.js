// Adds a button into each password field that shows what was typed; data-show and data-hide are its names, data-show-text and data-hide-text what stands on it. Without this script, the page has no such button.
for (const input of document.querySelectorAll('input[type=password][data-show]')) {
  const hadFocus = document.activeElement === input;
  const field = document.createElement('span');
  field.className = 'revealed';
  const button = document.createElement('button');
  button.type = 'button';
  button.className = 'show';
  button.setAttribute('aria-controls', input.id);
  const text = document.createElement('span');
  text.setAttribute('aria-hidden', 'true');
  const name = document.createElement('span');
  name.className = 'unseen';
  button.append(text, name);
  const show = (isShown) => {
    input.type = isShown ? 'text' : 'password';
    text.textContent = isShown ? input.dataset.hideText : input.dataset.showText;
    name.textContent = isShown ? input.dataset.hide : input.dataset.show;
  };
  show(false);
  button.addEventListener('click', () => show(input.type === 'password'));
  // a browser may keep the text of other fields
  input.form.addEventListener('submit', () => show(false));
  input.autocapitalize = 'none';
  input.spellcheck = false;
  input.before(field);
  field.append(input, button);
  if (hadFocus) input.focus();
}
