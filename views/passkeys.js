/*
 * Passkeys: asks the browser for a passkey and sends its answer with a form of the page.
 * A form with data-passkey="get" logs in, one with data-passkey="create" adds a passkey; data-options has the options, and
 * data-is-known and data-not-used have sentences for the person.
 */
'use strict';
(() => {
  if (!window.PublicKeyCredential || !navigator.credentials) return;

  const toBytes = (text) =>
    Uint8Array.from(atob(text.replaceAll('-', '+').replaceAll('_', '/')), (character) => character.charCodeAt(0));
  const toText = (buffer) =>
    btoa(String.fromCharCode(...new Uint8Array(buffer)))
      .replaceAll('+', '-')
      .replaceAll('/', '_')
      .replaceAll('=', '');
  const descriptors = (list) => list.map((one) => ({ ...one, id: toBytes(one.id) }));

  const optionsOf = (form) => {
    const options = JSON.parse(form.dataset.options);
    options.challenge = toBytes(options.challenge);
    if (options.allowCredentials) options.allowCredentials = descriptors(options.allowCredentials);
    if (options.excludeCredentials) options.excludeCredentials = descriptors(options.excludeCredentials);
    if (options.user) options.user.id = toBytes(options.user.id);
    return options;
  };

  const answerOf = ({ id, rawId, type, response }) => ({
    id,
    rawId: toText(rawId),
    type,
    response: {
      clientDataJSON: toText(response.clientDataJSON),
      ...(response.attestationObject && {
        attestationObject: toText(response.attestationObject),
        transports: response.getTransports ? response.getTransports() : [],
      }),
      ...(response.signature && {
        authenticatorData: toText(response.authenticatorData),
        signature: toText(response.signature),
        userHandle: response.userHandle ? toText(response.userHandle) : null,
      }),
    },
  });

  const send = (form, credential) => {
    form.querySelector('[data-answer]').value = JSON.stringify(answerOf(credential));
    // the choice to stay logged in is in the form of the password
    const choice = document.querySelector('input[type=checkbox][name=remember]');
    const remember = form.querySelector('input[name=remember]');
    if (remember) remember.disabled = !choice?.checked;
    form.requestSubmit();
  };

  const tell = (form, sentence) => {
    const message = form.querySelector('[data-message]');
    message.textContent = sentence;
    message.hidden = false;
  };

  /** What the browser offers in the field of the address, until the button asks for a passkey instead. */
  let offering = new AbortController();

  const offer = async (form) => {
    if (!PublicKeyCredential.isConditionalMediationAvailable) return;
    if (!(await PublicKeyCredential.isConditionalMediationAvailable())) return;
    const { signal } = offering;
    try {
      const credential = await navigator.credentials.get({
        publicKey: optionsOf(form),
        mediation: 'conditional',
        signal,
      });
      if (credential) send(form, credential);
    } catch {
      // the person chose no passkey, and can use the button or the password
    }
  };

  const ask = async (form) => {
    offering.abort();
    offering = new AbortController();
    const publicKey = optionsOf(form);
    try {
      const credential =
        form.dataset.passkey === 'create'
          ? await navigator.credentials.create({ publicKey })
          : await navigator.credentials.get({ publicKey });
      if (credential) send(form, credential);
    } catch (error) {
      const isKnown = error instanceof DOMException && error.name === 'InvalidStateError';
      tell(form, isKnown ? form.dataset.isKnown : form.dataset.notUsed);
    }
  };

  for (const form of document.querySelectorAll('form[data-passkey]')) {
    form.hidden = false;
    form.querySelector('[data-ask]').addEventListener('click', () => {
      if (form.reportValidity()) void ask(form);
    });
    if (form.hasAttribute('data-conditional')) void offer(form);
  }

  // tells the browser which passkeys it need not offer any more, where it listens
  for (const { dataset } of document.querySelectorAll('[data-unknown-passkey]')) {
    const { rpId, credentialId } = dataset;
    void PublicKeyCredential.signalUnknownCredential?.({ rpId, credentialId }).catch(() => {});
  }
  for (const { dataset } of document.querySelectorAll('[data-accepted-passkeys]')) {
    void PublicKeyCredential.signalAllAcceptedCredentials?.(JSON.parse(dataset.acceptedPasskeys)).catch(() => {});
  }
})();
