"""What the demo's messages and people are made of. No person in it is real."""

FIRST_NAMES = (
    "Ana", "João", "Conceição", "José", "Antônia", "Márcio", "Luíza", "Davi", "Inês", "Otávio",
    "Patrícia", "Raimundo", "Sônia", "Téo", "Uirá", "Valéria", "Wálter", "Ângela", "Júlia", "Caê",
)  # fmt: skip
LAST_NAMES = (
    "Souza", "Gonçalves", "Araújo", "Conceição", "Brandão", "Magalhães", "Lacerda", "Falcão",
    "Antunes", "Nóbrega", "Pinheiro", "Queirós", "Sá", "Teixeira", "Vasconcelos", "Assunção",
)  # fmt: skip
AREA_CODES = (11, 21, 31, 41, 51, 61, 71, 81, 85, 92)

SINGLES = (
    ("Sua fatura chegou", "Olá, {name}! Sua fatura de R$ {amount} vence amanhã. 💙"),
    ("Código de acesso", "{name}, seu código é {code}. Não o compartilhe com ninguém 🔐"),
    ("Pedido a caminho", "Boas notícias, {name}: seu pedido nº {code} saiu para entrega 🚚💨"),
    ("Consulta confirmada", "{name}, sua consulta é amanhã às 14h30. Até lá! 🩺"),
    ("Pagamento recebido", "Recebemos R$ {amount}. Obrigado, {name}! ✅"),
    ("Sua aula começa já", "{name}, a aula de violão começa em instantes 🎸 — não se atrase!"),
)
CAMPAIGN = (
    "São João chegou! 🌽🔥",
    "É tempo de festa junina: até 40% de desconto em botas e quentão! Não quer? Responda SAIR.",
)
WEEKEND = (
    "Fim de semana em casa",
    "Frete grátis até domingo 📦 Código: AÇAÍ. Válido para todo o Brasil 🇧🇷",
)
WITHDRAWN = (
    "Promoção relâmpago",
    "Só hoje: TVs pela metade do preço ⚡ (preço errado: esta campanha será cancelada)",
)
BROADCASTS = (
    ("Bom dia! ☀️", "Que tal começar a semana com um café? Confira as novidades no aplicativo."),
    ("Manutenção", "Hoje, às 23h, o aplicativo ficará fora do ar por alguns minutos. Até já! 🛠️"),
)
EVERYWHERE = (
    "Aviso importante",
    "Mudamos de endereço: agora estamos na Praça da Sé, nº 100 — esperamos você! 🏠",
)
LATE = ("Feliz Ano-Novo! 🎆", "Este voto de boas-festas chegou tarde demais: por isso é recusado.")
